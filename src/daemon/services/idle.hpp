#pragma once

#include <chrono>
#include <memory>

#include "src/base/task_group.hpp"
#include "src/daemon/service.hpp"

namespace cl {

struct Core;

/// Suspends a machine that nobody has used for the profile's `idle`: no connection to its socket or to a published
/// port, no session, and at the end no running container. An idle machine is asked nothing before that end.
class IdlePolicy : public Service {
 public:
  explicit IdlePolicy(Core& core);

  std::string_view name() const noexcept override { return "falling asleep"; }
  asio::awaitable<void> open() override;
  asio::awaitable<void> close() override;

  /// Something has changed that the waiting depends on: the phase, the settings.
  void look_again() noexcept { timer_.cancel(); }
  /// Somebody has used the machine just now.
  void used() noexcept { last_use_ = Clock::now(); }

 private:
  using Clock = std::chrono::steady_clock;
  asio::awaitable<void> watch();
  asio::awaitable<void> wait_until(Clock::time_point until);
  asio::awaitable<bool> containers_run();
  Clock::time_point last_use() const;

  Core& core_;
  asio::steady_timer timer_;
  Clock::time_point last_use_{};
  std::unique_ptr<TaskGroup> tasks_;
};

}  // namespace cl
