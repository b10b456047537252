#include "provision/channel/agent_program.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "provision/channel/protocol.hpp"
#include "src/base/text.hpp"

namespace cl {
namespace {

constexpr std::size_t most_unread = 256 * 1024;  // of one output, while somebody reads the other
constexpr std::size_t piece = agent::most_data - 1;
constexpr int unknown_end = 255;

class AgentProgram final : public GuestProcess, public ByteStream {
 public:
  AgentProgram(const asio::any_io_executor& executor, std::unique_ptr<MessageStream> service)
      : service_(std::move(service)), changed_(executor) {}

  ByteStream& io() override { return *this; }

  asio::awaitable<std::size_t> read_some(std::span<char> space) override {
    co_await fill(output_);
    co_return take(output_, space);
  }
  asio::awaitable<std::size_t> read_errors(std::span<char> space) override {
    co_await fill(errors_);
    co_return take(errors_, space);
  }
  asio::awaitable<void> write(std::span<const char> bytes) override {
    for (std::string_view rest(bytes.data(), bytes.size()); !rest.empty();) {
      const std::string_view part = rest.substr(0, piece);
      rest.remove_prefix(part.size());
      co_await say('i', part);
    }
  }
  asio::awaitable<void> shutdown_write() override { co_await say('e', {}); }
  void close() noexcept override {
    service_.reset();
    ended_ = true;
    changed_.notify_all();
  }
  asio::awaitable<void> resize(TerminalSize size) override {
    co_await say('w', std::to_string(size.columns) + " " + std::to_string(size.rows));
  }
  asio::awaitable<int> wait_exit() override {
    std::string none;
    while (!ended_) {
      output_.clear();
      errors_.clear();
      co_await fill(none);
    }
    co_return code_;
  }

  asio::awaitable<void> say(char kind, std::string_view text) {
    const auto service = service_;  // close() may come meanwhile
    if (!service || ended_) throw Error(Errc::io, "the program has ended");
    const std::string message = kind + std::string(text);
    co_await service->write(message);
  }

 private:
  static std::size_t take(std::string& from, std::span<char> space) {
    const std::size_t count = std::min(space.size(), from.size());
    std::memcpy(space.data(), from.data(), count);
    from.erase(0, count);
    return count;
  }

  /// Returns once there is something in `wanted`, or nothing more comes. Whoever comes first reads for all.
  asio::awaitable<void> fill(std::string& wanted) {
    while (wanted.empty() && !ended_) {
      const bool full = output_.size() > most_unread || errors_.size() > most_unread;
      if (reading_ || full) {
        co_await changed_.wait();
        continue;
      }
      const Reading reading(*this);
      const auto service = service_;
      const auto message = co_await service->read();
      if (!message || message->empty()) {
        ended_ = true;
        continue;
      }
      const std::string_view text = std::string_view(*message).substr(1);
      if (message->front() == 'o') output_ += text;
      if (message->front() == 'r') errors_ += text;
      if (message->front() != 'x') continue;
      code_ = whole_number<int>(text).value_or(unknown_end);
      ended_ = true;
    }
    changed_.notify_all();  // there is room again, or it has ended
  }

  struct Reading {
    AgentProgram& program;
    explicit Reading(AgentProgram& of) : program(of) { program.reading_ = true; }
    Reading(const Reading&) = delete;
    Reading& operator=(const Reading&) = delete;
    ~Reading() {
      program.reading_ = false;
      program.changed_.notify_all();
    }
  };

  std::shared_ptr<MessageStream> service_;
  std::string output_, errors_;
  bool reading_ = false, ended_ = false;
  int code_ = unknown_end;
  Notifier changed_;
};

}  // namespace

std::string run_service(const ExecRequest& request) {
  if (!request.terminal) return "run";
  return "run " + std::to_string(request.terminal->columns) + " " + std::to_string(request.terminal->rows) + " " +
         request.terminal_type;
}

asio::awaitable<std::unique_ptr<GuestProcess>> run_by_agent(std::unique_ptr<MessageStream> service,
                                                            ExecRequest request) {
  auto program = std::make_unique<AgentProgram>(co_await asio::this_coro::executor, std::move(service));
  for (std::string_view rest = request.command; !rest.empty();) {
    const std::string_view part = rest.substr(0, piece);
    rest.remove_prefix(part.size());
    co_await program->say('c', part);
  }
  co_await program->say('s', {});
  co_return program;
}

}  // namespace cl
