#include "vm/driver.hpp"

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

asio::awaitable<bool> stop_machine(Machine& machine, std::chrono::milliseconds grace) {
  bool asked = false;
  try {
    co_await machine.power_off();
    asked = true;
  } catch (const Error& error) {
    // Nobody can press the button of a hypervisor that does not answer, or is already gone.
    log::warn("cannot ask the guest to power off: {}", one_line(error));
  }
  if (asked) {
    try {
      co_await with_timeout(grace, "powering the guest off", until_gone(machine));
      co_return true;
    } catch (const Error& error) {
      if (error.code() != Errc::timed_out) throw;
      log::warn("the guest did not power off within {} ms: ending it", grace.count());
    }
  }
  machine.kill();
  const ExitReason reason = co_await machine.exited();
  co_return reason.clean;
}

}  // namespace cl
