#include <fmt/format.h>
#include <signal.h>

#include "src/base/file.hpp"
#include "src/base/log.hpp"
#include "src/base/platform.hpp"
#include "src/daemon/session.hpp"

// Session's ends of a machine: by itself, by `stop`, by `delete`.

namespace cl {
namespace json = boost::json;
namespace {

constexpr auto power_off_grace = std::chrono::seconds(60);          // dockerd gives containers 10 s, under TCG more
constexpr auto guest_power_off_patience = std::chrono::seconds(5);  // until its system has taken the order
constexpr auto hanging_grace = std::chrono::seconds(5);             // of a guest that may never end by itself
constexpr auto rest_patience = std::chrono::seconds(40);            // for what its script may take in all

/// Not every guest hears its power button. Not by itself: it ends the session's sshd, perhaps before that has told how
/// the command ended.
constexpr const char* power_off_command = "{ sleep 0.1; systemctl poweroff; } </dev/null >/dev/null 2>&1 &";

/// Whoever asked a virtiofs in the moment when its server ended waits for good, and the guest's own power-off for them.
/// What must not be lost: the engine with its containers, and what is not on the disks yet. Not `sync` alone, which
/// would ask the dead share, too.
constexpr const char* bring_to_rest_script =
    "timeout 25 systemctl stop docker.socket docker.service containerd.service 2>/dev/null\n"
    "for disk in / /var/lib/docker /var/lib/containerd; do [ ! -d $disk ] || sync -f $disk; done\n";

/// A process that has ended may have threads that still give its memory back; they hold its files open. No event tells.
asio::awaitable<void> until_unlocked(fs::path lock) {
  while (FileLock::is_held(lock)) co_await sleep_for(std::chrono::milliseconds(10));
}

}  // namespace

asio::awaitable<void> Session::watch_machine() {
  auto machine = machine_;
  const ExitReason reason = co_await machine->exited();
  const bool expected = vm_state_ == VmState::suspending && reason.clean;
  if (machine_ != machine || expected) co_return;
  log::info("the machine ended: {}", reason.text);
  if (link_) link_->give_up(Error(Errc::guest_failed, "the machine ended", "colima-like start").because(reason.text));
  ended_ = reason;
  if (job_ && !job_->done()) co_return;  // the job under way sees the end, or finishes with the tear-down
  auto nothing = [](Job&) -> asio::awaitable<json::object> { co_return json::object{}; };
  run(Job::Kind::stop, nothing);
}

asio::awaitable<void> Session::tear_down(std::string reason) {
  const bool unreached = !machine_ && FileLock::is_held(paths_.machine_lock);
  co_await close_forwards();
  co_await close_shares();
  if (link_) co_await link_->stop();
  link_.reset();
  if (ports_link_) co_await ports_link_->stop();
  ports_link_.reset();
  machine_.reset();
  ended_.reset();
  // A machine that lives and could not be reached keeps what whoever tries next needs.
  if (unreached) {
    if (vm_state_ == VmState::starting) enter(VmEvent::exited, std::move(reason));
    co_return;
  }
  if (driver_->has_remains(paths_.run_directory)) co_await driver_->clean_up(paths_.run_directory);
  // A hypervisor that was killed leaves its sockets; ours is still in use.
  for (const auto& entry : fs::directory_iterator(paths_.run_directory))
    if (entry.path() != paths_.control_socket) fs::remove(entry.path());
  co_await restore_context();
  remove_client_proxies();
  state_.machine_pid = 0;
  if (!saved_.exists()) {
    state_.shares.clear();
    state_.share_devices.clear();
  }
  if (vm_state_ == VmState::stopped) co_return;
  if (vm_state_ == VmState::suspended) co_return enter(VmEvent::discarded);
  // Interrupted while it resumed: what is saved was not used and still stands.
  enter(saved_.exists() ? VmEvent::saved : VmEvent::exited, std::move(reason));
  if (vm_state_ == VmState::suspended) keep_socket();
}

/// Of a suspended machine, whose clients wake it.
void Session::keep_socket() noexcept {
  try {
    open_forward();
  } catch (const std::exception& error) {
    log::warn("nobody can wake the suspended machine by its socket: {}", error.what());
  }
}

std::shared_ptr<Job> Session::stop(bool force) {
  if (job_ && !job_->done()) {
    if (job_->kind() == Job::Kind::stop) return job_;
    if (job_->kind() == Job::Kind::remove)
      throw Error(Errc::busy, "profile '" + paths_.name + "' is being deleted", "wait for that to end");
  }
  return run(Job::Kind::stop, [this, force](Job& job) { return do_stop(job, force); });
}

asio::awaitable<json::object> Session::do_stop(Job& job, bool force) {
  if (const auto before = job.before()) {
    job.begin("interrupt", before->kind() == Job::Kind::suspend ? "waiting for the suspend that is under way"
                                                                : "interrupting the start");
    before->cancel_with_those_before();
    co_await before->ended();
    job.end();
  }
  if (machine_) co_await power_off(job, force);
  if (!machine_ && FileLock::is_held(paths_.machine_lock)) co_await end_unreachable(job, force);
  if (vm_state_ == VmState::suspended) {
    job.begin("discard", "giving up the suspended machine");
    saved_.discard();
    co_await tear_down({});
    job.end("the suspended machine is given up; containers' data stays");
  }
  co_return json::object{};
}

/// On the way to a power-off, which goes on whatever comes of it.
asio::awaitable<void> Session::try_in_guest(std::string what, std::string command, std::chrono::milliseconds limit) {
  auto work = [](std::shared_ptr<GuestLink> link, std::string told) -> asio::awaitable<void> {
    const auto reached = co_await link->guest(guest_power_off_patience);
    co_await run_in_guest(*reached, std::move(told), "");
  };
  if (!link_ || !link_->connected()) co_return;
  try {
    co_await with_timeout(limit, std::move(what), work(link_, std::move(command)));
  } catch (const Error& error) {
    log::warn("{}", one_line(error));
  }
}

/// Only a guest that runs hears its power button.
asio::awaitable<void> Session::resume_to_power_off() {
  try {
    co_await machine_->resume();
  } catch (const Error& error) {
    log::warn("{}", one_line(error));  // then it is ended
  }
}

asio::awaitable<void> Session::power_off(Job& job, bool force) {
  // A stop that was begun is finished: half a stop helps nobody.
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  const bool paused = vm_state_ == VmState::suspended;
  if (vm_state_ != VmState::stopping) enter(VmEvent::stop);
  co_await close_forwards();
  if (paused && !force) co_await resume_to_power_off();
  const auto grace = force ? std::chrono::seconds(0) : share_server_ended_ ? hanging_grace : power_off_grace;
  job.begin("stop", force ? "ending the machine"
                    : share_server_ended_
                        ? "ending Docker and then the machine, in which somebody may wait for a dead share"
                        : fmt::format("powering off (ended after {} s)", grace.count()));
  if (!force && share_server_ended_)
    co_await try_in_guest("the end of Docker in the guest", bring_to_rest_script, rest_patience);
  if (!force && driver_->traits().weak_button)
    co_await try_in_guest("asking the guest to power off", power_off_command, guest_power_off_patience);
  const bool by_itself = co_await stop_machine(*machine_, grace);
  job.end(by_itself ? "the machine is powered off" : "the machine is ended");
  co_await tear_down({});
}

/// A machine that could not be taken over: its control socket is gone, or nobody answers there.
asio::awaitable<void> Session::end_unreachable(Job& job, bool force) {
  constexpr auto patience = std::chrono::seconds(10);  // a hypervisor's memory is given back page by page
  if (!force)
    throw Error(Errc::busy, "the machine of profile '" + paths_.name + "' runs but does not answer",
                "'colima-like stop --force' ends it, with its containers");
  // It inherited the lock's file. Who only looks whether the lock is held has that open for microseconds.
  const pid_t pid = platform::process_with_open(paths_.machine_lock);
  co_await sleep_for(std::chrono::milliseconds(50));
  if (pid == 0 || platform::process_with_open(paths_.machine_lock) != pid)
    throw Error(Errc::busy, "it cannot be told which process is the machine of profile '" + paths_.name + "'",
                "as its owner or root: lsof " + paths_.machine_lock.string());
  job.begin("stop", "ending the machine, which does not answer");
  ::kill(pid, SIGKILL);
  co_await with_timeout(patience, "the end of process " + std::to_string(pid), platform::wait_until_gone(pid));
  co_await with_timeout(patience, "the end of its memory", until_unlocked(paths_.machine_lock));
  co_await tear_down({});
  job.end("the machine is ended");
}

std::shared_ptr<Job> Session::remove(bool data) {
  if (job_ && !job_->done() && job_->kind() == Job::Kind::remove) return job_;
  return run(Job::Kind::remove, [this, data](Job& job) { return do_remove(job, data); });
}

asio::awaitable<json::object> Session::do_remove(Job& job, bool data) {
  co_await do_stop(job, false);
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  job.begin("delete", "removing files");
  co_await remove_context();
  const std::uint64_t kept = allocated_bytes(paths_.data_disk);
  const bool keep = !data && kept > 0;
  for (const auto& entry : fs::directory_iterator(paths_.directory)) {
    // The lock goes last and the data only when asked for; the log is this daemon's own.
    if (entry.path() == paths_.lock || (keep && entry.path() == paths_.data_disk)) continue;
    fs::remove_all(entry.path());
  }
  if (!keep) fs::remove_all(paths_.directory);
  json::object result;
  result["summary"] = keep ? fmt::format("profile '{}' is deleted; its containers' data ({}) is kept in {}",
                                         paths_.name, ByteSize::bytes(kept).str(), paths_.data_disk.string())
                           : fmt::format("profile '{}' is deleted", paths_.name);
  job.end();
  co_return result;
}

}  // namespace cl
