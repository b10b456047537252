#include "src/base/task_group.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <vector>

#include "src/base/log.hpp"

namespace cl {
namespace {

void report(const std::string& name, const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const Error& error) {
    log::warn("{}: {}", name, one_line(error));
  } catch (const boost::system::system_error& error) {
    if (error.code() != asio::error::operation_aborted) log::warn("{}: {}", name, error.what());
  } catch (const std::exception& error) {
    log::error("{}: {}", name, error.what());
  } catch (...) {
    log::error("{}: it threw what is no exception", name);
  }
}

/// Why a task that was to last has ended.
Error end_of(const std::string& name, const std::exception_ptr& failure) {
  const Error error(Errc::internal, "'" + name + "' ended by itself");
  return failure ? error.because(one_line(error_of(failure))) : error;
}

}  // namespace

TaskGroup::TaskGroup(asio::any_io_executor executor) : executor_(executor), tasks_(std::make_shared<Tasks>(executor)) {}

void TaskGroup::spawn(std::string name, asio::awaitable<void> work) { start(std::move(name), false, std::move(work)); }

void TaskGroup::spawn_permanent(std::string name, asio::awaitable<void> work) {
  start(std::move(name), true, std::move(work));
}

void TaskGroup::start(std::string name, bool permanent, asio::awaitable<void> work) {
  if (tasks_->stopping) return;
  auto task = tasks_->running.emplace(tasks_->running.end());
  task->name = std::move(name);
  task->permanent = permanent;
  auto on_end = [tasks = tasks_, task](std::exception_ptr failure) {
    const bool lost = task->permanent && !tasks->stopping;
    const std::string ended = task->name;
    if (failure && !lost) report(ended, failure);
    tasks->running.erase(task);
    if (tasks->running.empty() && tasks->stopping) tasks->all_ended.set();
    if (!lost) return;
    const Error error = end_of(ended, failure);
    log::error("{}", one_line(error));
    const auto callback = tasks->on_permanent_end;  // it may set another one
    if (callback) callback(error);
  };
  asio::co_spawn(executor_, std::move(work), asio::bind_cancellation_slot(task->cancel.slot(), std::move(on_end)));
}

asio::awaitable<void> TaskGroup::stop() {
  tasks_->stopping = true;
  // Terminal: the only kind that a co_spawned coroutine honours by default. The handlers run later,
  // through the executor, but a task may end inside emit(): walk over a copy of the positions.
  std::vector<asio::cancellation_signal*> signals;
  for (Task& task : tasks_->running) signals.push_back(&task.cancel);
  auto keep = tasks_;
  for (asio::cancellation_signal* signal : signals) {
    bool alive = false;
    for (Task& task : keep->running) alive = alive || &task.cancel == signal;
    if (alive) signal->emit(asio::cancellation_type::terminal);
  }
  if (!keep->running.empty()) co_await keep->all_ended.wait();
}

}  // namespace cl
