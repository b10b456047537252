#include "provision/clock.hpp"

#include <fmt/format.h>

namespace cl {
namespace {

/// One line in, seconds and nanoseconds; one line out, "ok" or what is wrong. Perl, which every Debian has, makes the
/// system call itself: starting `date` for it takes an emulated guest up to 100 ms, by which the clock would be late.
/// 112 and 227 are clock_settime on the two architectures, 0 is CLOCK_REALTIME.
constexpr const char* loop =
    R"(exec perl -MConfig -e '$| = 1; $call = $Config{archname} =~ /^aarch64/ ? 112 : 227; )"
    R"(while (<STDIN>) { my ($s, $ns) = split; print syscall($call, 0, pack("qq", $s, $ns)) == 0 ? "ok\n" : "$!\n" }')";

}  // namespace

asio::awaitable<std::unique_ptr<GuestClock>> GuestClock::start(Guest& guest) {
  ExecRequest request;
  request.command = loop;
  auto setter = co_await guest.exec(std::move(request));
  co_return std::make_unique<GuestClock>(std::move(setter));
}

asio::awaitable<std::chrono::nanoseconds> GuestClock::set_once() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto sent = std::chrono::steady_clock::now();
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now);
  const auto rest = std::chrono::duration_cast<std::chrono::nanoseconds>(now - seconds);
  const std::string line = fmt::format("{} {}\n", seconds.count(), rest.count());
  co_await setter_->io().write(line);
  std::string answer;
  while (!answer.ends_with('\n')) {
    char space[256];
    const std::size_t got = co_await setter_->io().read_some(space);
    if (got == 0) throw Error(Errc::io, "the guest's clock cannot be reached");
    answer.append(space, got);
  }
  if (answer != "ok\n")
    throw Error(Errc::guest_failed, "the guest's clock could not be set").because(answer.substr(0, answer.size() - 1));
  co_return std::chrono::steady_clock::now() - sent;
}

asio::awaitable<void> GuestClock::set() {
  // A resumed emulated guest translates what it runs anew: its first answer takes 100 ms and more, the next a tenth.
  for (int tries = 0; tries < most_tries; ++tries)
    if (co_await set_once() <= close_enough) co_return;
}

}  // namespace cl
