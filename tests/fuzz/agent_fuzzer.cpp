// Whatever bytes one end of a session sends, the other understands or refuses them, within bounds, and lives on. The
// first byte says whose bytes these are, 'a' the agent's or 'h' the host's, the second how they are cut on their way.
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "provision/agent/session.hpp"
#include "provision/channel/agent.hpp"
#include "src/base/error.hpp"
#include "src/base/task_group.hpp"

namespace {

using namespace cl;

struct Pair {
  UniqueFd tested, ours;
  Pair() {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) std::abort();
    tested.reset(ends[0]);
    ours.reset(ends[1]);
  }
  std::string take() const {
    static char bytes[256 * 1024];  // not to be cleared each time
    const ssize_t got = ::recv(ours.get(), bytes, sizeof bytes, 0);
    return {bytes, got > 0 ? static_cast<std::size_t>(got) : 0};
  }
};

// ---- the host's bytes, the agent's end
// -------------------------------------------------------------------------------

/// Sends back what it gets, and ends when the host does.
class Sink : public agent::Stream {
 public:
  using Stream::Stream;
  void begin() override { session_.accept(*this); }
  void take(std::string_view bytes) override {
    session_.handed_on(*this, bytes.size());
    if (credit.payload() >= bytes.size()) session_.send(*this, bytes);
  }
  void take_end() override {
    session_.end(*this);
    session_.forget_if_over(*this);
  }
  void release() override {}
};

std::unique_ptr<agent::Stream> make(agent::Session& session, std::uint32_t id, std::string_view what,
                                    std::string& why) {
  if (what.starts_with("e")) return std::make_unique<Sink>(session, id);
  why = "no";
  return nullptr;
}

void feed_agent(const std::string& bytes, std::size_t piece) {
  agent::Session session(&make, "words");
  Pair pair;
  if (!session.attach(pair.tested.get(), pair.tested.get(), false)) std::abort();
  for (std::size_t at = 0; at < bytes.size(); at += piece) {
    const std::string part = bytes.substr(at, piece);
    if (::send(pair.ours.get(), part.data(), part.size(), MSG_NOSIGNAL) < 0) std::abort();
    session.turn();
    pair.take();
  }
  ::shutdown(pair.ours.get(), SHUT_WR);
  while (!session.ended()) {
    session.turn();
    pair.take();
  }
}

// ---- the agent's bytes, the host's end
// -------------------------------------------------------------------------------

asio::awaitable<void> use_stream(std::shared_ptr<Agent> host) {
  try {
    auto stream = co_await host->open_unix("/x");
    std::string space(1000, 'x');
    for (int i = 0; i < 3; ++i) {
      co_await stream->write(space);
      if (co_await stream->read_some(space) == 0) break;
    }
    co_await stream->shutdown_write();
    while (co_await stream->read_some(space) > 0) {
    }
  } catch (const Error&) {
  }
}

asio::awaitable<void> use_service(std::shared_ptr<Agent> host) {
  try {
    auto service = co_await host->open_service("listeners");
    while (co_await service->read()) {
    }
  } catch (const Error&) {
  }
}

void feed_host(const std::string& bytes, std::size_t piece) {
  asio::io_context io(1);
  Pair pair;
  TaskGroup tasks(io.get_executor());
  auto host = Agent::start(io.get_executor(), Transport(std::move(pair.tested)), "build");
  io.poll();
  // As an agent that is one would begin: with the host's nonce.
  const std::string hello = pair.take();
  std::string_view rest = hello;
  agent::FrameDecoder decoder;
  agent::Frame frame;
  if (decoder.next(rest, frame) != agent::FrameDecoder::Result::frame) std::abort();
  agent::Hello answer = *agent::read_hello(frame.payload);
  std::string all;
  agent::append_hello(all, answer);
  all += bytes;
  std::unique_ptr<DatagramFlow> flow;
  std::size_t datagrams = 0;
  for (std::size_t at = 0; at < all.size(); at += at == 0 ? all.size() - bytes.size() : piece) {
    const std::string part = at == 0 ? all.substr(0, all.size() - bytes.size()) : all.substr(at, piece);
    (void)!::send(pair.ours.get(), part.data(), part.size(), MSG_NOSIGNAL);
    io.restart();
    io.poll();
    pair.take();
    if (at > 0) continue;
    tasks.spawn("stream", use_stream(host));    // 1
    tasks.spawn("service", use_service(host));  // 3
    io.poll();
    flow = host->open_udp("127.0.0.1", 1, [&datagrams](std::string_view) { ++datagrams; });  // 5
  }
  host->stop();
  flow.reset();
  asio::co_spawn(io, tasks.stop(), [](std::exception_ptr) {});
  io.restart();
  io.run();
  if (host->streams() != 0) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  std::string bytes(reinterpret_cast<const char*>(data) + 2, size - 2);
  const std::size_t piece = data[1] == 0 ? bytes.size() + 1 : data[1];
  if (data[0] == 'a') feed_host(bytes, piece);
  if (data[0] == 'h') feed_agent(bytes, piece);
  return 0;
}
