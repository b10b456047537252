#include "src/daemon/services/idle.hpp"

#include <algorithm>
#include <utility>

#include "docker/api.hpp"
#include "profiles/keys.hpp"
#include "profiles/runtime.hpp"
#include "src/base/failure.hpp"
#include "src/base/log.hpp"
#include "src/daemon/core.hpp"

namespace cl {

IdlePolicy::IdlePolicy(Core& core) : core_(core), timer_(core.executor) {}

asio::awaitable<void> IdlePolicy::open() {
  if (tasks_) co_return;
  used();
  tasks_ = std::make_unique<TaskGroup>(core_.executor);
  core_.spawn_permanent(*tasks_, "falling asleep", watch());
}

asio::awaitable<void> IdlePolicy::close() {
  const auto tasks = std::exchange(tasks_, nullptr);
  if (tasks) co_await tasks->stop();
}

/// As far as this host can see; now, while a connection or a session is open.
IdlePolicy::Clock::time_point IdlePolicy::last_use() const {
  if (core_.uses > 0 || !core_.engine_socket.is_open()) return Clock::now();
  const ForwardCounters socket = core_.engine_socket.counters();
  const PortCounters ports = core_.ports.counters();
  if (socket.connections > 0 || ports.connections > 0) return Clock::now();
  return std::max({last_use_, socket.last_activity, socket.since, ports.last_activity});
}

/// A runtime that cannot be asked is taken to have some.
asio::awaitable<bool> IdlePolicy::containers_run() {
  const Runtime& runtime = runtime_of(core_.state().profile);
  if (!runtime.speaks_docker) co_return true;
  const auto reached = co_await core_.guest.reach_for_client();
  std::string path(runtime.guest_socket);
  const auto stream = co_await reached->open_unix(std::move(path));
  const boost::json::array running = co_await docker::running_containers(*stream);
  co_return !running.empty();
}

/// Until then, or until look_again().
asio::awaitable<void> IdlePolicy::wait_until(Clock::time_point until) {
  timer_.expires_at(until);
  co_await timer_.async_wait(no_throw);
  const auto state = co_await asio::this_coro::cancellation_state;
  if (state.cancelled() != asio::cancellation_type::none)
    throw boost::system::system_error(asio::error::operation_aborted);
}

asio::awaitable<void> IdlePolicy::watch() {
  for (;;) {
    const auto idle = core_.state().profile.idle;
    if (!is<phase::Running>(core_.phase()) || idle.count() == 0) {
      co_await wait_until(Clock::time_point::max());
      continue;
    }
    const auto unused = Clock::now() - last_use();
    if (unused < idle) {
      co_await wait_until(Clock::now() + (idle - unused));
      continue;
    }
    bool busy = true;
    auto ask = [this, &busy]() -> asio::awaitable<void> { busy = co_await containers_run(); };
    co_await attempt("asking whether containers run", ask());
    if (busy) used();
    if (busy || Clock::now() - last_use() < idle || !is<phase::Running>(core_.phase())) continue;
    log::info("unused for {}: falling asleep", duration_text(idle));
    const auto failure = co_await failure_of(core_.fall_asleep());
    if (!failure) continue;
    log::warn("cannot fall asleep: {}", one_line(*failure));
    used();
  }
}

}  // namespace cl
