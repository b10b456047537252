#include "src/daemon/services/clock.hpp"

#include <utility>

#include "src/base/log.hpp"
#include "src/base/platform.hpp"
#include "src/daemon/core.hpp"

namespace cl {

ClockService::ClockService(Core& core) : core_(core) {}

asio::awaitable<void> ClockService::open() {
  if (tasks_) co_return;
  tasks_ = std::make_unique<TaskGroup>(core_.executor);
  core_.spawn_permanent(*tasks_, "following the clock", follow());
}

asio::awaitable<void> ClockService::follow() {
  for (;;) {
    co_await platform::wall_clock_set();
    if (!is<phase::Running, phase::Degraded>(core_.phase())) continue;
    co_await core_.guest.try_set_clock();
    log::info("this computer's clock has jumped; the guest's was set after it");
  }
}

asio::awaitable<void> ClockService::close() {
  const auto tasks = std::exchange(tasks_, nullptr);
  if (tasks) co_await tasks->stop();
}

}  // namespace cl
