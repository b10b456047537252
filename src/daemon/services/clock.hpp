#pragma once

#include "src/base/task_group.hpp"
#include "src/daemon/service.hpp"

namespace cl {

struct Core;

/// The guest's clock follows this computer's: when that was set or has slept, since the guest's stood still meanwhile,
/// and once a minute.
class ClockService : public Service {
 public:
  explicit ClockService(Core& core);

  std::string_view name() const noexcept override { return "the guest's clock"; }
  asio::awaitable<void> open() override;
  asio::awaitable<void> close() override;

 private:
  asio::awaitable<void> follow();

  Core& core_;
  std::unique_ptr<TaskGroup> tasks_;
};

}  // namespace cl
