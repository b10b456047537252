#include "vm/driver.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

#include "src/base/fnv.hpp"
#include "src/base/log.hpp"

namespace cl {
namespace {

asio::awaitable<void> until_gone(Machine& machine) { co_await machine.exited(); }

}  // namespace

std::string_view to_string(Accel accel) noexcept {
  switch (accel) {
    case Accel::tcg: return "tcg";
    case Accel::kvm: return "kvm";
    case Accel::hvf: return "hvf";
  }
  return "tcg";
}

std::string mac_address(std::string_view name) {
  const std::uint32_t hash = fnv1a_32(name);
  return fmt::format("52:54:00:{:02x}:{:02x}:{:02x}", (hash >> 16) & 0xff, (hash >> 8) & 0xff, hash & 0xff);
}

asio::awaitable<bool> stop_machine(Machine& machine, std::chrono::milliseconds grace, std::chrono::milliseconds again) {
  const auto until = std::chrono::steady_clock::now() + grace;
  while (grace.count() > 0) {
    try {
      co_await with_timeout(std::max(std::min(again, grace), {}), "pressing the power button", machine.power_off());
    } catch (const Error& error) {
      // Nobody can press the button of a hypervisor that does not answer, or is already gone.
      log::warn("cannot ask the guest to power off: {}", one_line(error));
      break;
    }
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    try {
      co_await with_timeout(std::max(std::min(again, left), {}), "powering the guest off", until_gone(machine));
      co_return true;
    } catch (const Error& error) {
      if (error.code() != Errc::timed_out) throw;
    }
    if (again < left) continue;
    log::warn("the guest did not power off within {} ms: ending it", grace.count());
    break;
  }
  machine.kill();
  const ExitReason reason = co_await machine.exited();
  co_return reason.clean;
}

}  // namespace cl
