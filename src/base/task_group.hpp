#pragma once

#include <functional>
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

  /// Starts `work` that is to last as long as the group. When it ends before stop() began, whatever the reason, that is
  /// a failure of the whole: on_permanent_end()'s callback is told.
  void spawn_permanent(std::string name, asio::awaitable<void> work);

  /// `callback` must not throw. It is called by the event loop after the task has ended, with an Error that names it.
  void on_permanent_end(std::function<void(const Error&)> callback) { tasks_->on_permanent_end = std::move(callback); }

  /// Cancels every task and returns when all have ended. May be called again.
  asio::awaitable<void> stop();

  std::size_t size() const noexcept { return tasks_->running.size(); }

 private:
  struct Task {
    std::string name;
    bool permanent = false;
    asio::cancellation_signal cancel;
  };
  struct Tasks {  // shared with the completion handlers, which may outlive the group at shutdown
    explicit Tasks(const asio::any_io_executor& executor) : all_ended(executor) {}
    std::list<Task> running;
    bool stopping = false;
    std::function<void(const Error&)> on_permanent_end;
    Event all_ended;
  };
  void start(std::string name, bool permanent, asio::awaitable<void> work);

  asio::any_io_executor executor_;
  std::shared_ptr<Tasks> tasks_;
};

}  // namespace cl
