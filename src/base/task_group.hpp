#pragma once

#include <list>
#include <memory>
#include <string>

#include "src/base/async.hpp"

namespace cl {

/// Background coroutines that end before their owner does. An exception that leaves one is logged with
/// the task's name, never lost (asio's own "detached" loses it). One thread only.
///
/// Owner's rule: keep it as the last member and await stop() before destruction.
class TaskGroup {
 public:
  explicit TaskGroup(asio::any_io_executor executor);
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;

  /// Starts `work`. After stop() began this does nothing but drop it.
  void spawn(std::string name, asio::awaitable<void> work);

  /// Cancels every task and returns when all have ended. May be called again.
  asio::awaitable<void> stop();

  std::size_t size() const noexcept { return tasks_->running.size(); }

 private:
  struct Task {
    std::string name;
    asio::cancellation_signal cancel;
  };
  struct Tasks {  // shared with the completion handlers, which may outlive the group at shutdown
    explicit Tasks(const asio::any_io_executor& executor) : all_ended(executor) {}
    std::list<Task> running;
    bool stopping = false;
    Event all_ended;
  };
  asio::any_io_executor executor_;
  std::shared_ptr<Tasks> tasks_;
};

}  // namespace cl
