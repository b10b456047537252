#include "provision/guest.hpp"

#include <array>
#include <utility>

namespace cl {
namespace {

constexpr std::size_t kept_output = 1 << 20;
constexpr std::size_t read_size = 32 * 1024;

/// Appends, and forgets the front past the limit. Trims in steps, so that long outputs are not moved again and again.
void keep_last(std::string& kept, std::string_view part) {
  kept += part;
  if (kept.size() > 2 * kept_output) kept.erase(0, kept.size() - kept_output);
}

void trim(std::string& kept) {
  if (kept.size() > kept_output) kept.erase(0, kept.size() - kept_output);
}

class TextInput : public GuestInput {
 public:
  explicit TextInput(std::string text) : text_(std::move(text)) {}
  asio::awaitable<std::string> next() override { co_return std::exchange(text_, {}); }

 private:
  std::string text_;
};

/// False when the program takes nothing more: it may end without reading its input. If the guest is gone, reading its
/// output says so.
asio::awaitable<bool> write_piece(GuestProcess& process, const std::string& piece) {
  try {
    if (piece.empty()) {
      co_await process.io().shutdown_write();
    } else {
      co_await process.io().write(piece);
    }
  } catch (const Error&) {
    co_return false;
  }
  co_return !piece.empty();
}

asio::awaitable<void> feed(GuestProcess& process, std::shared_ptr<GuestInput> input) {
  bool goes_on = true;
  while (goes_on) {
    const std::string piece = co_await input->next();
    goes_on = co_await write_piece(process, piece);
  }
}

asio::awaitable<std::string> drain_output(GuestProcess& process, std::function<void(std::string_view)> on_line) {
  std::string kept, line;
  std::vector<char> space(read_size);
  for (;;) {
    const std::size_t got = co_await process.io().read_some(space);
    if (got == 0) break;
    std::string_view part(space.data(), got);
    keep_last(kept, part);
    if (!on_line) continue;
    for (std::size_t end; (end = part.find('\n')) != std::string_view::npos; part.remove_prefix(end + 1)) {
      line += part.substr(0, end);
      on_line(line);
      line.clear();
    }
    if (line.size() < kept_output) line += part;  // a line without end is cut, not collected
  }
  trim(kept);
  co_return kept;
}

asio::awaitable<std::string> drain_errors(GuestProcess& process) {
  std::string kept;
  std::vector<char> space(read_size);
  for (;;) {
    const std::size_t got = co_await process.read_errors(space);
    if (got == 0) break;
    keep_last(kept, std::string_view(space.data(), got));
  }
  trim(kept);
  co_return kept;
}

asio::awaitable<GuestResult> run_to_end(Guest& guest, std::string command, std::shared_ptr<GuestInput> input,
                                        std::function<void(std::string_view)> on_line) {
  auto executor = co_await asio::this_coro::executor;
  ExecRequest request;
  request.command = std::move(command);
  std::unique_ptr<GuestProcess> process = co_await guest.exec(std::move(request));

  // All three at once: a program that fills one pipe while we wait at another would stop for ever.
  auto all = asio::experimental::make_parallel_group(
      asio::co_spawn(executor, feed(*process, std::move(input)), asio::deferred),
      asio::co_spawn(executor, drain_output(*process, std::move(on_line)), asio::deferred),
      asio::co_spawn(executor, drain_errors(*process), asio::deferred));
  auto [order, no_input, no_output, output, no_errors, errors] =
      co_await all.async_wait(asio::experimental::wait_for_one_error(), asio::use_awaitable);
  // The one that failed first is the reason; the others were cancelled because of it.
  for (const std::size_t index : order) {
    const std::array failures{no_input, no_output, no_errors};
    if (failures[index]) std::rethrow_exception(failures[index]);
  }

  GuestResult result;
  result.exit_code = co_await process->wait_exit();
  result.output = std::move(output);
  result.errors = std::move(errors);
  co_return result;
}

}  // namespace

asio::awaitable<GuestResult> run_in_guest(Guest& guest, std::string command, std::string input,
                                          std::function<void(std::string_view)> on_line) {
  auto text = std::make_shared<TextInput>(std::move(input));
  return run_in_guest(guest, std::move(command), std::shared_ptr<GuestInput>(std::move(text)), std::move(on_line));
}

asio::awaitable<GuestResult> run_in_guest(Guest& guest, std::string command, std::shared_ptr<GuestInput> input,
                                          std::function<void(std::string_view)> on_line) {
  auto work = run_to_end(guest, std::move(command), std::move(input), std::move(on_line));
  try {
    co_return co_await std::move(work);
  } catch (const Error& error) {
    // A stream says that it broke; to whoever wanted a command run, it is the guest that failed.
    if (error.code() != Errc::io) throw;
    throw Error(Errc::guest_failed, "the guest cannot be reached any more").because(one_line(error));
  }
}

asio::awaitable<std::string> read_to_end(MessageStream& service, std::size_t limit) {
  std::string all;
  while (const auto message = co_await service.read()) {
    if (all.size() + message->size() > limit)
      throw Error(Errc::guest_failed, "the guest's agent says more than " + std::to_string(limit) + " bytes");
    all += *message;
  }
  co_return all;
}

asio::awaitable<std::unique_ptr<MessageStream>> Guest::open_service(std::string what) {
  throw Error(Errc::guest_failed, "there is no agent in the guest for " + what.substr(0, what.find(' ')));
  co_return nullptr;
}

asio::awaitable<std::unique_ptr<DatagramFlow>> Guest::open_udp(std::string, std::uint16_t, DatagramFlow::OnDatagram) {
  throw Error(Errc::guest_failed, "there is no agent in the guest for UDP");
  co_return nullptr;
}

asio::awaitable<std::unique_ptr<GuestListener>> Guest::listen(std::string) {
  throw Error(Errc::guest_failed, "there is no agent in the guest that listens");
  co_return nullptr;
}

}  // namespace cl
