#include <fmt/format.h>

#include <algorithm>

#include "docker/api.hpp"
#include "profiles/keys.hpp"
#include "profiles/runtime.hpp"
#include "src/base/child.hpp"
#include "src/base/file.hpp"
#include "src/base/log.hpp"
#include "src/daemon/preparation.hpp"
#include "src/daemon/session.hpp"

// Session's way to a machine on disk and back. What is saved, and when it is valid: vm/saved_machine.hpp.
//
// The SSH session is not made anew: its guest's end is part of the memory that is saved, ours stays in this process,
// and the serial ports between them are empty when the machine stops. So a resumed guest answers without a handshake,
// which takes an emulated one a second.

namespace cl {
namespace json = boost::json;
namespace {

constexpr auto wake_patience = std::chrono::seconds(20);  // a resumed guest answers in milliseconds, or is broken
constexpr std::uint64_t spare_space = 64ULL << 20;        // beside the memory: device state, and not the last byte

/// In a process of its own: the file system makes the caller wait for what is still being written of a large file.
asio::awaitable<void> remove_in_background(fs::path file) {
  Command command;
  command.argv = {"rm", "-f", file.string()};
  auto child = Child::start(co_await asio::this_coro::executor, command);
  co_await child.wait();
}

}  // namespace

SavedFacts Session::saved_facts() const {
  return SavedFacts{
      std::string(driver_->name()), state_.fingerprint, state_.image_digest, {paths_.root_disk, paths_.data_disk}};
}

std::shared_ptr<Job> Session::suspend(bool by_itself) {
  if (job_ && !job_->done()) {
    if (job_->kind() == Job::Kind::suspend) return job_;
    if (job_->kind() == Job::Kind::stop || job_->kind() == Job::Kind::remove)
      throw Error(Errc::busy, "profile '" + paths_.name + "' is being stopped");
  }
  return run(Job::Kind::suspend, [this, by_itself](Job& job) { return do_suspend(job, by_itself); });
}

asio::awaitable<json::object> Session::do_suspend(Job& job, bool by_itself) {
  if (const auto before = job.before()) {
    job.begin("wait", "waiting for the start that is under way");
    co_await before->ended();
    job.end();
  }
  json::object result;
  if (vm_state_ == VmState::suspended) {
    result["summary"] = "profile '" + paths_.name + "' is already suspended";
    co_return result;
  }
  if (vm_state_ != VmState::running)
    throw Error(Errc::not_running,
                fmt::format("profile '{}' is {} and cannot be suspended", paths_.name, to_string(vm_state_)),
                "colima-like start");
  const bool to_disk = state_.not_saved.empty();
  if (to_disk) require_space();

  // From here to its end: half a suspend helps nobody, and it takes about a second.
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  job.begin("suspend", to_disk ? "saving the machine's memory" : "pausing the machine");
  if (to_disk) saved_.prepare();
  enter(VmEvent::suspend);
  try {
    co_await link_->set_clock(wake_patience);  // so that what sets it is there when the machine resumes
  } catch (const Error& error) {
    log::warn("{}", one_line(error));
  }
  if (events_) co_await events_->pause();
  if (ports_link_) co_await ports_link_->stop();
  ports_link_.reset();
  const bool parked = co_await link_->park();
  if (shares_) co_await shares_->park();
  std::optional<Error> failure;
  try {
    co_await machine_->pause();
    if (to_disk) co_await machine_->save(saved_.memory());
  } catch (const Error& error) {
    failure = error;
  }
  if (failure) {
    saved_.discard();
    bool runs_on = true;
    try {
      co_await machine_->resume();
    } catch (const Error&) {
      runs_on = false;
    }
    if (!runs_on) {
      machine_->kill();
      ended_ = co_await machine_->exited();  // finish() tears it down
      throw Error(Errc::io, "the machine ended while it was being suspended", "colima-like start")
          .because(one_line(*failure));
    }
    link_->unpark();
    if (shares_) shares_->unpark();
    connect_ports();
    enter(VmEvent::kept);
    throw Error(failure->code(), "the machine could not be suspended and runs on").because(one_line(*failure));
  }
  if (to_disk) co_await let_go(parked);
  state_.asleep = by_itself;
  enter(VmEvent::saved);
  const std::string what = to_disk ? "suspended" : "paused";
  const std::string where =
      to_disk ? ByteSize::bytes(saved_.bytes()).str() + " on disk" : "its memory stays in use: " + state_.not_saved;
  job.end(fmt::format("the machine is {} ({})", what, where));
  result["summary"] =
      fmt::format("profile '{}' is {} ({}); 'colima-like start', or any use of its docker socket, resumes it",
                  paths_.name, what, where);
  co_return result;
}

/// For the memory, all of which the guest may have touched, and what the devices are.
void Session::require_space() {
  const std::uint64_t resident = platform::resident_bytes(machine_->pid());
  const std::uint64_t needed = (resident > 0 ? resident : state_.profile.memory.count()) + spare_space;
  const std::uint64_t free = free_space(paths_.directory);
  if (free >= needed) return;
  throw Error(Errc::host_requirement, "there is no space to suspend the machine, which runs on",
              "free some space, or power it off with 'colima-like stop'")
      .because(fmt::format("{} are needed in {} and {} are free", ByteSize::bytes(needed).str(),
                           paths_.directory.string(), ByteSize::bytes(free).str()));
}

/// The hypervisor is gone, and what it saved is recorded; the SSH session waits for the next one.
asio::awaitable<void> Session::let_go(bool parked) {
  if (parked) {
    co_await link_->drained();
    if (shares_) co_await shares_->drained();
  } else {
    co_await close_shares();
    co_await link_->stop();
    link_.reset();
  }
  machine_.reset();
  ended_.reset();
  state_.machine_pid = 0;
  std::string not_recorded;
  try {
    saved_.commit(saved_facts());
  } catch (const Error& error) {
    not_recorded = one_line(error);
  }
  if (not_recorded.empty()) co_return;
  saved_.discard();
  co_await tear_down("it could not be suspended: " + not_recorded);
  throw Error(Errc::io, "the machine was saved, but that could not be recorded, and it is stopped now",
              "colima-like start; containers come back by their restart policy, their data is untouched")
      .because(not_recorded);
}

// --- asleep ---------------------------------------------------------------------------------------------------------

/// When the machine was last used, as far as this host can see: now, while a connection or a session is open.
Session::Clock::time_point Session::last_use() const {
  if (uses_ > 0 || !forward_) return Clock::now();
  const ForwardCounters counters = forward_->counters();
  if (counters.connections > 0) return Clock::now();
  return std::max({last_use_, counters.last_activity, counters.since});
}

/// Of a runtime that cannot be asked it has to be assumed.
asio::awaitable<bool> Session::containers_run() {
  const Runtime& runtime = runtime_of(state_.profile);
  if (!runtime.speaks_docker) co_return true;
  const auto reached = co_await link_->guest(patience());
  std::string path(runtime.guest_socket);
  const auto stream = co_await reached->open_unix(std::move(path));
  const json::array running = co_await docker::running_containers(*stream);
  co_return !running.empty();
}

/// Until then, or until something changed that the waiting depends on.
asio::awaitable<void> Session::wait_idle(Clock::time_point until) {
  idle_timer_.expires_at(until);
  co_await idle_timer_.async_wait(no_throw);
  const auto state = co_await asio::this_coro::cancellation_state;
  if (state.cancelled() != asio::cancellation_type::none)
    throw boost::system::system_error(asio::error::operation_aborted);
}

/// Sleeps until the machine can have been unused for long enough, and then looks: an idle machine is asked nothing but,
/// at the end of that time, whether containers run.
asio::awaitable<void> Session::sleep_when_idle() {
  for (;;) {
    const auto idle = state_.profile.idle;
    if (vm_state_ != VmState::running || idle.count() == 0) {
      co_await wait_idle(Clock::time_point::max());
      continue;
    }
    const auto unused = Clock::now() - last_use();
    if (unused < idle) {
      co_await wait_idle(Clock::now() + (idle - unused));
      continue;
    }
    bool busy = true;
    try {
      busy = co_await containers_run();
    } catch (const Error& error) {
      log::warn("cannot tell whether the machine is idle: {}", one_line(error));
    }
    if (busy) last_use_ = Clock::now();
    if (busy || Clock::now() - last_use() < idle || vm_state_ != VmState::running) continue;
    log::info("unused for {}: falling asleep", duration_text(idle));
    const auto job = suspend(true);
    try {
      co_await job->result();
    } catch (const Error& error) {
      log::warn("cannot fall asleep: {}", one_line(error));
      last_use_ = Clock::now();
    }
  }
}

/// The guest's clock stands still while the host sleeps.
asio::awaitable<void> Session::follow_clock() {
  for (;;) {
    co_await platform::wall_clock_set();
    const auto link = link_;
    if (!link || (vm_state_ != VmState::running && vm_state_ != VmState::degraded)) continue;
    try {
      co_await link->set_clock(wake_patience);
      log::info("the host's clock has jumped, and the guest's after it");
    } catch (const Error& error) {
      log::warn("{}", one_line(error));
    }
  }
}

/// For whoever needs a machine that runs: resumes a suspended one, however many ask. What fails then is told by what
/// they do next.
asio::awaitable<void> Session::wake() {
  if (vm_state_ != VmState::suspended && vm_state_ != VmState::suspending) co_return;
  StartOrder order;
  order.wake = true;
  const auto job = start(std::move(order));
  co_await job->ended();
}

/// False when it has to boot instead; then nothing of the saved machine is left, and a note says why.
asio::awaitable<bool> Session::resume(Job& job) {
  std::optional<Error> failure;
  try {
    co_await (machine_ ? unpause(job) : load_saved(job));
  } catch (const Error& error) {
    failure = error;
  }
  if (!failure) co_return true;
  const std::string why = one_line(*failure);
  log::warn("cannot resume: {}", why);
  notes_.push_back("the machine was not resumed but booted: " + why);
  if (machine_) {
    machine_->kill();
    co_await machine_->exited();
  }
  machine_.reset();
  ended_.reset();
  if (const auto link = std::exchange(link_, nullptr)) co_await link->stop();
  saved_.discard();
  job.end("the suspended machine cannot be resumed");
  co_return false;
}

/// Of a machine that could only be paused.
asio::awaitable<void> Session::unpause(Job& job) {
  job.begin("resume", "resuming the paused machine");
  co_await machine_->resume();
  link_->unpark();
  if (shares_) shares_->unpark();
  connect_ports();
  co_await link_->set_clock(wake_patience);
  job.end("the machine is resumed");
}

asio::awaitable<void> Session::load_saved(Job& job) {
  SavedFacts facts = saved_facts();
  facts.hypervisor.clear();
  if (const auto why = saved_.unusable(facts)) throw Error(Errc::io, *why);
  auto machine_lock = FileLock::try_acquire(paths_.machine_lock);
  if (!machine_lock) throw Error(Errc::busy, "a machine of profile '" + paths_.name + "' still runs");
  open_forward();

  BootPlan plan = co_await prepare_boot(home_, paths_, state_, driver_->traits(), job);
  add_share_devices(plan);
  facts.hypervisor = (co_await driver_->saving(plan)).fingerprint;
  facts.image = state_.image_digest;
  if (const auto why = saved_.unusable(facts)) throw Error(Errc::io, *why);
  plan.lock_fd = machine_lock->fd();
  plan.incoming = true;
  job.begin("resume", "resuming the suspended machine");
  machine_ = co_await driver_->boot(std::move(plan));
  state_.machine_pid = machine_->pid();
  tasks_.spawn("machine", watch_machine());
  tasks_.spawn("share servers", watch_shares());

  const bool session_lives = link_ && link_->connected();
  if (session_lives) co_await link_->plug();
  if (session_lives && shares_) co_await shares_->plug();
  co_await machine_->load(saved_.memory());
  saved_.use_up();
  co_await machine_->resume();
  co_await machine_->allow_reboot();
  tasks_.spawn("removing the used memory", remove_in_background(saved_.set_aside()));
  if (session_lives) {
    link_->unpark();
    if (shares_) shares_->unpark();
  } else {
    SshLogin login = co_await prepare_login(paths_);
    co_await connect_guest(std::move(login));
    co_await bring_shares_back();
  }
  open_ports();
  connect_ports();
  co_await link_->set_clock(wake_patience);
  job.end("the machine is resumed");
}

}  // namespace cl
