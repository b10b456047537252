#pragma once

#include <chrono>
#include <ctime>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/task_group.hpp"
#include "src/daemon/service.hpp"

namespace cl {

struct Core;

/// Why a machine is awake, and since when, as it is looked at again and again. Pure.
class AwakeReasons {
 public:
  /// What one source has to say at a look.
  struct Use {
    std::string_view source;  ///< the same at each look
    std::string what;
    std::time_t last = 0;  ///< 0 = it lasts
  };
  /// What counts at `now`: what lasts, and what was less than `idle` ago (0: the machine never sleeps, and an hour is
  /// taken). A reason goes on since it was first seen, as long as it was there at each look.
  std::vector<AwakeReason> look(const std::vector<Use>& uses, std::time_t now, std::chrono::seconds idle);

 private:
  std::map<std::string, std::time_t, std::less<>> since_;
};

/// Suspends a machine that nobody has used for the profile's `idle`: no connection to its socket, to a published port
/// or of a forward, no session, and at the end no running container. An idle machine is asked nothing before that end.
class IdlePolicy : public Service {
 public:
  explicit IdlePolicy(Core& core);

  std::string_view name() const noexcept override { return "falling asleep"; }
  asio::awaitable<void> open() override;
  /// Whoever has woken it may need a moment to begin.
  asio::awaitable<void> resume() override;
  asio::awaitable<void> close() override;
  void describe(State& state) const override;

  /// Something has changed that the waiting depends on: the phase, the settings.
  void look_again() noexcept { timer_.cancel(); }
  /// Somebody has used the machine just now.
  void used() noexcept { last_use_ = Clock::now(); }

 private:
  using Clock = std::chrono::steady_clock;
  asio::awaitable<void> watch();
  asio::awaitable<void> note_reasons();
  asio::awaitable<void> wait_until(Clock::time_point until);
  asio::awaitable<std::string> running_containers();
  Clock::time_point last_use() const;
  std::vector<AwakeReasons::Use> uses() const;

  Core& core_;
  asio::steady_timer timer_;
  Clock::time_point last_use_{};
  std::string containers_;  ///< that ran when it was asked last; empty = none
  std::time_t containers_at_ = 0;
  AwakeReasons kept_;
  std::vector<AwakeReason> reasons_;
  std::unique_ptr<TaskGroup> tasks_;
};

}  // namespace cl
