#include "src/base/failure.hpp"
#include "src/base/log.hpp"
#include "src/daemon/core.hpp"
#include "src/daemon/transitions/transitions.hpp"

// What happens after a daemon was killed: the next one begins here.

namespace cl::transition {
namespace {

/// One that does not answer is as good as none; the lock tells that it lives.
asio::awaitable<std::unique_ptr<Machine>> try_attach(Core& core) {
  std::unique_ptr<Machine> machine;
  auto work = [](Core& of, std::unique_ptr<Machine>& into) -> asio::awaitable<void> {
    into = co_await with_timeout(of.parts.patience.answer, "taking over the hypervisor",
                                 of.driver->attach(of.paths.run_directory));
  };
  co_await attempt("the hypervisor", work(core, machine));
  co_return machine;
}

/// A hypervisor whose daemon was killed right after it had started it has no control socket yet.
asio::awaitable<std::unique_ptr<Machine>> attach(Core& core) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  // Not interrupted half-way: a stop needs the machine.
  co_await asio::this_coro::throw_if_cancelled(false);
  auto machine = co_await uninterrupted(try_attach(core));
  while (!machine && FileLock::is_held(core.paths.machine_lock) && std::chrono::steady_clock::now() < until) {
    co_await uninterrupted(sleep_for(std::chrono::milliseconds(20)));
    machine = co_await uninterrupted(try_attach(core));
  }
  co_await asio::this_coro::throw_if_cancelled(true);
  co_return machine;
}

asio::awaitable<void> bring_back(Core& core, Job& job, LiveMachine machine) {
  // Of a guest that its hypervisor has stopped (this computer's disk was full), the CPUs go on.
  co_await with_timeout(core.parts.patience.answer, "letting the guest's CPUs go on", machine->resume());
  // A daemon may have been killed while it suspended or resumed the machine: whatever it saved is void now.
  co_await discard_saved(core);
  co_await core.open_services();
  job.end("took over the running machine");
  const auto failure = co_await failure_of(core.shares.choose_again());
  if (failure) core.notes.push_back(one_line(*failure));
  co_await set_up(core, job);
}

asio::awaitable<boost::json::object> take_over_machine(Core& core, Job& job) {
  const std::string last_phase = core.state().phase;
  const std::int64_t since = core.state().since;
  job.begin("attach", "taking over the running machine");
  auto found = co_await attach(core);
  if (!found) {
    co_await tear_down(core, "the machine could not be taken over");
    if (!is<phase::Unreachable>(core.phase()))
      throw Error(Errc::not_running, "the machine could not go on and was ended", "colima-like start");
    throw Error(Errc::busy, "the machine of profile '" + core.paths.name + "' runs but does not answer",
                "'colima-like stop --force' ends it, with its containers");
  }
  const LiveMachine machine(std::move(found));
  core.store.edit().machine_pid = machine->pid();
  if (last_phase == "suspended") {  // in memory: whoever uses it wakes it, as before
    co_await discard_saved(core);
    core.enter(phase::Paused{machine});
    co_await core.machine_watch.open();
    co_await core.open_for_wake();
    job.end("took over the paused machine");
    co_return started(core, "is suspended");
  }
  core.enter(phase::Booting{machine});
  std::exception_ptr failure;
  try {
    co_await bring_back(core, job, machine);
  } catch (...) {
    failure = std::current_exception();
  }
  if (!failure) {
    core.enter(phase::Running{machine});
    // The machine runs since then, whichever daemon looks after it.
    if (last_phase == "running" || last_phase == "degraded") core.store.edit().since = since;
    co_return started(core, "is running");
  }
  // The machine and its containers are left alone: a stop or another start decides.
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  if (!machine.ended()) core.enter(phase::Degraded{machine}, "the machine could not be taken over");
  throw error_of(failure);
}

}  // namespace

asio::awaitable<boost::json::object> take_over(Core& core, Job& job) {
  core.notes.clear();
  if (FileLock::is_held(core.paths.machine_lock) || core.driver->is_kept(core.paths.run_directory))
    co_return co_await take_over_machine(core, job);
  // What the last daemon did not live to see: that its machine ended.
  const Observed seen = observe(core.paths);
  co_await tear_down(core, core.saved.exists() ? "" : seen.state.reason);
  State& state = core.store.edit();
  state.phase = to_string(core.phase());
  state.reason = is<phase::Saved>(core.phase()) ? "" : seen.state.reason;
  co_return boost::json::object{};
}

}  // namespace cl::transition
