#pragma once

#include <memory>

#include "src/base/task_group.hpp"
#include "src/daemon/phase.hpp"
#include "src/daemon/service.hpp"

namespace cl {

struct Core;

/// Notices what a hypervisor does by itself: that it ends, that it stands still since this computer's disk is full,
/// that the server of a share is gone. Keeps what the guest says on its console short.
class MachineWatch : public Service {
 public:
  explicit MachineWatch(Core& core) : core_(core) {}

  std::string_view name() const noexcept override { return "the hypervisor's news"; }
  /// Of the phase's machine; once for each.
  asio::awaitable<void> open() override;
  asio::awaitable<void> close() override;

 private:
  asio::awaitable<void> follow_end(LiveMachine machine);
  asio::awaitable<void> follow_shares(LiveMachine machine);
  asio::awaitable<void> follow_pauses(LiveMachine machine);
  asio::awaitable<void> unblock(LiveMachine machine);
  asio::awaitable<void> cut_console();

  Core& core_;
  std::optional<LiveMachine> watched_;
  std::unique_ptr<TaskGroup> tasks_;
};

}  // namespace cl
