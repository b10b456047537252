#include <fmt/format.h>
#include <signal.h>

#include <boost/json/array.hpp>

#include "src/base/blocking.hpp"
#include "src/base/failure.hpp"
#include "src/base/file.hpp"
#include "src/base/log.hpp"
#include "src/base/platform.hpp"
#include "src/daemon/core.hpp"
#include "src/daemon/transitions/transitions.hpp"

namespace cl::transition {
namespace {

constexpr auto power_off_patience = std::chrono::seconds(5);  // until the guest's system has taken the order
constexpr auto hanging_grace = std::chrono::seconds(5);       // of a guest that may never end by itself
constexpr auto rest_patience = std::chrono::seconds(40);      // for what its script may take in all

/// Not every guest hears its power button. Not by itself: it ends the session's sshd, perhaps before that has told how
/// the command ended.
constexpr const char* power_off_command = "{ sleep 0.1; systemctl poweroff; } </dev/null >/dev/null 2>&1 &";

/// Whoever asked a virtiofs in the moment when its server ended waits for good, and the guest's own power-off for them.
/// What must not be lost: the engine with its containers, and what is not on the disks yet. Not `sync` alone, which
/// would ask the dead share, too.
constexpr const char* stop_docker_script =
    "timeout 25 systemctl stop docker.socket docker.service containerd.service 2>/dev/null\n"
    "for disk in / /var/lib/docker /var/lib/containerd; do [ ! -d $disk ] || sync -f $disk; done\n";

/// A process that has ended may have threads that still give its memory back; they hold its files open. No event tells.
asio::awaitable<void> until_unlocked(fs::path lock) {
  while (FileLock::is_held(lock)) co_await sleep_for(std::chrono::milliseconds(10));
}

asio::awaitable<void> power_off(Core& core, Job& job, LiveMachine machine, bool force) {
  // A stop that was begun is finished: half a stop helps nobody.
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  const bool stands_still = is<phase::Paused, phase::Blocked>(core.phase());
  const bool hangs = core.shares.any_server_lost() || is<phase::Blocked>(core.phase());
  core.enter(phase::Stopping{machine});
  // Only a guest that runs hears its power button.
  if (stands_still && !force) {
    co_await attempt("the hypervisor", with_timeout(power_off_patience, "its answer", machine->resume()));
    co_await attempt("the services", core.resume_services());
  }
  if (!force && !hangs) co_await core.trim.before_stop();
  std::chrono::milliseconds grace = core.parts.patience.power_off;
  if (hangs) grace = std::min<std::chrono::milliseconds>(grace, hanging_grace);
  if (force) grace = {};
  const bool own = core.driver->traits().own_machine;
  job.begin("stop", !own    ? "letting go of the host, whose containers go on"
                    : force ? "ending the machine"
                    : hangs ? "ending Docker and then the machine, in which somebody may wait for this computer's disk"
                            : fmt::format("powering off (ended after {} s)", grace.count() / 1000));
  if (!force && core.shares.any_server_lost())
    co_await core.guest.try_command("the end of Docker in the guest", stop_docker_script, rest_patience);
  if (!force && core.driver->traits().weak_button)
    co_await core.guest.try_command("asking the guest to power off", power_off_command, power_off_patience);
  const bool by_itself = co_await stop_machine(*machine, grace);
  if (!machine.ended()) machine.set_ended(co_await machine->exited());
  if (!by_itself && !force && !core.state().reason.empty())
    core.notes.push_back("the guest could not power off, and what it had not written yet is lost: " +
                         core.state().reason);
  job.end(!own        ? "the host is let go; its containers go on"
          : by_itself ? "the machine is powered off"
                      : "the machine is ended");
  co_await discard_saved(core);
  co_await tear_down(core, {});
}

/// A machine that could not be taken over: its control socket is gone, or nobody answers there. Its process has the
/// machine's lock, which it inherited.
asio::awaitable<void> end_unreachable(Core& core, Job& job, bool force) {
  constexpr auto patience = std::chrono::seconds(10);  // a hypervisor's memory is given back page by page
  if (!force)
    throw Error(Errc::busy, "the machine of profile '" + core.paths.name + "' runs but does not answer",
                "'colima-like stop --force' ends it, with its containers");
  auto find = [lock = core.paths.machine_lock, likely = core.state().machine_pid] {
    return platform::lock_holder(lock, likely);
  };
  const pid_t pid = co_await blocking(std::move(find));
  if (pid == 0)
    throw Error(Errc::busy, "it cannot be told which process is the machine of profile '" + core.paths.name + "'",
                "as its owner or root: lsof " + core.paths.machine_lock.string());
  job.begin("stop", "ending the machine, which does not answer");
  ::kill(pid, SIGKILL);
  co_await with_timeout(patience, "the end of process " + std::to_string(pid), platform::wait_until_gone(pid));
  co_await with_timeout(patience, "the end of its memory", until_unlocked(core.paths.machine_lock));
  co_await discard_saved(core);
  co_await tear_down(core, {});
  job.end("the machine is ended");
}

}  // namespace

asio::awaitable<boost::json::object> stop(Core& core, Job& job, bool force) {
  core.notes.clear();
  const auto machine = machine_of(core.phase());
  if (machine) {
    co_await power_off(core, job, *machine, force);
  } else if (FileLock::is_held(core.paths.machine_lock)) {
    co_await end_unreachable(core, job, force);
  } else if (is<phase::Saved>(core.phase())) {
    job.begin("discard", "giving up the suspended machine");
    co_await discard_saved(core);
    co_await tear_down(core, {});
    job.end("the suspended machine is given up");
  } else if (!is<phase::Stopped>(core.phase())) {
    co_await tear_down(core, {});
  }
  boost::json::object result;
  result["notes"] = boost::json::array(core.notes.begin(), core.notes.end());
  co_return result;
}

asio::awaitable<boost::json::object> remove(Core& core, Job& job, bool data) {
  co_await stop(core, job, false);
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  std::string taken_back;
  if (!core.driver->traits().own_machine) taken_back = co_await leave_host(core, job, data);
  job.begin("delete", "removing files");
  co_await core.docker_client.remove_context();
  // A write that is under way would bring its file back.
  co_await core.store.try_flush(std::chrono::seconds(5));
  co_await core.store.stop();
  const ProfilePaths& paths = core.paths;
  auto measure = [disk = paths.data_disk] { return allocated_bytes(disk); };
  const std::uint64_t kept = co_await blocking(std::move(measure));
  const bool keep = !data && kept > 0;
  auto remove_files = [paths, keep] {
    for (const fs::path& path : list_folder(paths.directory)) {
      // The lock goes last and the data only when asked for; the log is this daemon's own.
      if (path == paths.lock || (keep && path == paths.data_disk)) continue;
      remove_tree(path);
    }
    if (!keep) remove_tree(paths.directory);
  };
  co_await blocking(std::move(remove_files));
  boost::json::object result;
  result["summary"] = keep ? fmt::format("profile '{}' is deleted; its containers' data ({}) is kept in {}", paths.name,
                                         ByteSize::bytes(kept).str(), paths.data_disk.string())
                           : fmt::format("profile '{}' is deleted{}{}", paths.name,
                                         taken_back.empty() ? "" : "; the host is rid of ", taken_back);
  result["notes"] = boost::json::array(core.notes.begin(), core.notes.end());
  job.end();
  co_return result;
}

}  // namespace cl::transition
