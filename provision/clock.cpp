#include "provision/clock.hpp"

#include <fmt/format.h>

#include <chrono>

namespace cl {
namespace {

/// One line in, the time; one line out, "ok" or what `date` says.
constexpr const char* loop =
    R"(exec sh -c 'while read -r now; do if said=$(date -u -s "@$now" 2>&1); then echo ok; else echo "$said"; fi; done')";

}  // namespace

asio::awaitable<std::unique_ptr<GuestClock>> GuestClock::start(Guest& guest) {
  ExecRequest request;
  request.command = loop;
  auto shell = co_await guest.exec(std::move(request));
  co_return std::make_unique<GuestClock>(std::move(shell));
}

asio::awaitable<void> GuestClock::set() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const std::string line =
      fmt::format("{:.6f}\n", std::chrono::duration_cast<std::chrono::duration<double>>(now).count());
  co_await shell_->io().write(line);
  std::string answer;
  while (!answer.ends_with('\n')) {
    char space[256];
    const std::size_t got = co_await shell_->io().read_some(space);
    if (got == 0) throw Error(Errc::io, "the guest's clock cannot be reached");
    answer.append(space, got);
  }
  if (answer != "ok\n")
    throw Error(Errc::guest_failed, "the guest's clock could not be set").because(answer.substr(0, answer.size() - 1));
}

}  // namespace cl
