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

namespace {

/// Why it is awake is written down so often at most: for people, and each time is a write to this computer's disk.
constexpr auto between_notes = std::chrono::seconds(20);
constexpr std::time_t old_news = 60;                // that long a newer time alone is not worth one
constexpr auto patience = std::chrono::minutes(1);  // for an engine that is asked
constexpr auto recently = std::chrono::hours(1);

std::string counted(std::size_t count, std::string_view one) {
  return std::to_string(count) + " " + std::string(one) + (count == 1 ? "" : "s");
}

/// Whether what was written down still tells it.
bool same(const std::vector<AwakeReason>& before, const std::vector<AwakeReason>& now) {
  return std::equal(before.begin(), before.end(), now.begin(), now.end(),
                    [](const AwakeReason& a, const AwakeReason& b) {
                      const bool as_long = (a.last == 0) == (b.last == 0) && b.last - a.last < old_news;
                      return a.what == b.what && a.since == b.since && as_long;
                    });
}

}  // namespace

std::vector<AwakeReason> AwakeReasons::look(const std::vector<Use>& uses, std::time_t now, std::chrono::seconds idle) {
  const auto enough = (idle.count() > 0 ? idle : std::chrono::seconds(recently)).count();
  std::vector<AwakeReason> found;
  std::map<std::string, std::time_t, std::less<>> since;
  for (const Use& use : uses) {
    if (use.last != 0 && now - use.last >= enough) continue;
    const auto known = since_.find(use.source);
    const std::time_t first = known != since_.end() ? known->second : use.last != 0 ? use.last : now;
    since.emplace(use.source, first);
    found.push_back({use.what, first, use.last});
  }
  since_ = std::move(since);
  return found;
}

IdlePolicy::IdlePolicy(Core& core) : core_(core), timer_(core.executor) {}

asio::awaitable<void> IdlePolicy::open() {
  if (tasks_) co_return;
  used();
  tasks_ = std::make_unique<TaskGroup>(core_.executor);
  core_.spawn_permanent(*tasks_, "falling asleep", watch());
  core_.spawn_permanent(*tasks_, "why it is awake", note_reasons());
}

asio::awaitable<void> IdlePolicy::resume() {
  used();
  kept_ = {};  // what was before the sleep is another story
  reasons_.clear();
  containers_.clear();
  look_again();
  co_return;
}

asio::awaitable<void> IdlePolicy::close() {
  const auto tasks = std::exchange(tasks_, nullptr);
  if (tasks) co_await tasks->stop();
  reasons_.clear();
  containers_.clear();
}

void IdlePolicy::describe(State& state) const { state.awake = reasons_; }

std::vector<AwakeReasons::Use> IdlePolicy::uses() const {
  const std::time_t now = std::time(nullptr);
  auto wall = [now](Clock::time_point at) {
    return now - std::chrono::duration_cast<std::chrono::seconds>(Clock::now() - at).count();
  };
  std::vector<AwakeReasons::Use> found;
  const EngineSocket::Use engine = core_.engine_socket.use();
  const PortCounters ports = core_.ports.counters();
  const ForwardCounters forwards = core_.forwards.counters();
  const bool clients = engine.connections > 0 || !engine.request.empty();
  if (clients) {
    std::string what = "docker client";
    if (!engine.request.empty()) what += " (" + engine.request + ")";
    if (engine.connections > 0) what += ", " + counted(engine.connections, "connection") + " open";
    found.push_back({"clients", std::move(what), engine.connections > 0 ? 0 : wall(engine.last_activity)});
  }
  if (ports.connections > 0)
    found.push_back({"ports", counted(ports.connections, "connection") + " to published ports open"});
  else if (ports.last_activity != Clock::time_point{})
    found.push_back({"ports", "published ports", wall(ports.last_activity)});
  if (forwards.connections > 0)
    found.push_back({"forwards", counted(forwards.connections, "connection") + " of forwards open"});
  else if (forwards.last_activity != Clock::time_point{})
    found.push_back({"forwards", "forwards", wall(forwards.last_activity)});
  if (core_.uses > 0)
    found.push_back({"commands", counted(static_cast<std::size_t>(core_.uses), "session") + " of colima-like"});
  if (!containers_.empty()) found.push_back({"containers", containers_, containers_at_});
  return found;
}

asio::awaitable<void> IdlePolicy::note_reasons() {
  for (;;) {
    while (!is<phase::Running>(core_.phase())) co_await core_.changed();
    std::vector<AwakeReason> now = kept_.look(uses(), std::time(nullptr), core_.state().profile.idle);
    if (!same(reasons_, now)) {
      reasons_ = std::move(now);
      core_.describe(*this);
    }
    co_await sleep_for(between_notes);
  }
}

/// As far as this host can see; now, while a connection or a session is open.
IdlePolicy::Clock::time_point IdlePolicy::last_use() const {
  if (core_.uses > 0 || !core_.engine_socket.is_open()) return Clock::now();
  const EngineSocket::Use engine = core_.engine_socket.use();
  const PortCounters ports = core_.ports.counters();
  const ForwardCounters forwards = core_.forwards.counters();
  if (engine.connections > 0 || ports.connections > 0 || forwards.connections > 0) return Clock::now();
  return std::max({last_use_, engine.last_activity, ports.last_activity, forwards.last_activity});
}

/// In words; empty: none. A runtime that cannot be asked is taken to have some.
asio::awaitable<std::string> IdlePolicy::running_containers() {
  const Runtime& runtime = runtime_of(core_.state().profile);
  if (!runtime.speaks_docker) co_return "nobody can be asked whether containers run";
  const auto reached = co_await core_.guest.reach_for_client();
  std::string path(runtime.guest_socket);
  const auto stream = co_await reached->open_unix(std::move(path));
  const boost::json::array running = co_await docker::running_containers(*stream);
  co_return running.empty() ? "" : counted(running.size(), "container") + (running.size() == 1 ? " runs" : " run");
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
    std::string containers = "the engine does not say whether containers run";
    auto ask = [this, &containers]() -> asio::awaitable<void> { containers = co_await running_containers(); };
    co_await attempt("asking whether containers run", with_timeout(patience, "the engine's answer", ask()));
    containers_ = std::move(containers);
    containers_at_ = std::time(nullptr);
    if (!containers_.empty()) used();
    if (!containers_.empty() || Clock::now() - last_use() < idle || !is<phase::Running>(core_.phase())) continue;
    log::info("unused for {}: falling asleep", duration_text(idle));
    const auto failure = co_await failure_of(core_.fall_asleep());
    if (!failure) continue;
    log::warn("cannot fall asleep: {}", one_line(*failure));
    used();
  }
}

}  // namespace cl
