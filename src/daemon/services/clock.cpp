#include "src/daemon/services/clock.hpp"

#include <utility>

#include "src/base/log.hpp"
#include "src/base/platform.hpp"
#include "src/daemon/core.hpp"

namespace cl {

namespace {

/// A guest counts its own ticks, which an emulated one has measured at boot only roughly, and does not hear how this
/// computer's clock is kept right: at 200 parts in a million it is off by 12 ms after this long.
constexpr auto drift = std::chrono::minutes(1);

}  // namespace

ClockService::ClockService(Core& core) : core_(core) {}

asio::awaitable<void> ClockService::open() {
  if (tasks_) co_return;
  tasks_ = std::make_unique<TaskGroup>(core_.executor);
  core_.spawn_permanent(*tasks_, "following the clock", follow());
}

asio::awaitable<void> ClockService::follow() {
  for (;;) {
    bool jumped = true;
    try {
      co_await with_timeout(drift, "the clock's being set", platform::wall_clock_set());
    } catch (const Error& error) {
      if (error.code() != Errc::timed_out) throw;
      jumped = false;
    }
    if (!is<phase::Running, phase::Degraded>(core_.phase()) || !core_.guest.connected()) continue;
    if (!core_.driver->traits().own_machine) {
      // A host's clock is its own; after a sleep of this computer the session with it may be dead.
      if (const auto link = core_.guest.link(); jumped && link) co_await link->check();
      continue;
    }
    co_await core_.guest.try_set_clock();
    if (jumped) log::info("this computer's clock has jumped; the guest's was set after it");
  }
}

asio::awaitable<void> ClockService::close() {
  const auto tasks = std::exchange(tasks_, nullptr);
  if (tasks) co_await tasks->stop();
}

}  // namespace cl
