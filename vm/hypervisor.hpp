#pragma once

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <exception>
#include <filesystem>
#include <memory>
#include <string>

#include "src/base/async.hpp"
#include "src/base/failure.hpp"
#include "src/base/log.hpp"
#include "src/base/unique_fd.hpp"

/// What drivers have in common: both start a process and watch it.
namespace cl {

/// A hypervisor's messages are appended to this.
UniqueFd open_driver_log(const std::filesystem::path& path);

/// Runs `watch`, which waits for the end of the process named `name`, sets the reason and `gone` of `state`, and is
/// cancelled by its `stop_watching`. A failure of the watch itself is an end, too, so that nobody waits for ever.
///
/// Not a TaskGroup: its owner must await its end, and a machine is dropped without ado when a daemon goes.
template <class State>
void spawn_watch(const asio::any_io_executor& executor, std::shared_ptr<State> state, std::string name,
                 asio::awaitable<void> watch) {
  auto on_end = [state, name](const std::exception_ptr& failure) {
    if (!failure || state->gone.is_set() || is_cancellation(failure)) return;
    state->reason.text = name + " can no longer be watched: " + one_line(error_of(failure));
    log::error("{}", state->reason.text);
    state->gone.set();
  };
  asio::co_spawn(executor, std::move(watch),
                 asio::bind_cancellation_slot(state->stop_watching.slot(), std::move(on_end)));
}

}  // namespace cl
