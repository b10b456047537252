#include "provision/clock.hpp"

#include <fmt/format.h>

#include "src/base/log.hpp"

namespace cl {
namespace {

asio::awaitable<std::chrono::nanoseconds> set_once(MessageStream& clock) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto sent = std::chrono::steady_clock::now();
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now);
  const auto rest = std::chrono::duration_cast<std::chrono::nanoseconds>(now - seconds);
  const std::string time = fmt::format("{} {}", seconds.count(), rest.count());
  co_await clock.write(time);
  const auto answer = co_await clock.read();
  if (!answer) throw Error(Errc::io, "the guest's clock cannot be reached");
  if (*answer != "ok") {
    const bool why = answer->starts_with("error ");
    throw Error(Errc::guest_failed, "the guest's clock could not be set").because(why ? answer->substr(6) : *answer);
  }
  co_return std::chrono::steady_clock::now() - sent;
}

/// Where no agent can run, `date` sets it: later by as long as that takes to start.
asio::awaitable<void> set_by_command(std::shared_ptr<Guest> guest) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const double seconds = std::chrono::duration<double>(now).count();
  const GuestResult done = co_await run_in_guest(*guest, fmt::format("date -u -s @{:.3f} >/dev/null", seconds), "");
  if (done.exit_code != 0) throw Error(Errc::guest_failed, "the guest's clock could not be set").because(done.errors);
}

}  // namespace

asio::awaitable<void> set_guest_clock(std::shared_ptr<Guest> guest) {
  std::unique_ptr<MessageStream> clock;
  try {
    clock = co_await guest->open_service("clock");
  } catch (const Error& error) {
    if (error.code() != Errc::guest_failed) throw;
    log::info("the guest's clock is set by a command: {}", one_line(error));
  }
  if (!clock) co_return co_await set_by_command(std::move(guest));
  // A resumed emulated guest translates what it runs anew: its first answer takes 100 ms and more, the next a tenth.
  for (int tries = 0; tries < most_clock_tries; ++tries)
    if (co_await set_once(*clock) <= clock_close_enough) co_return;
}

}  // namespace cl
