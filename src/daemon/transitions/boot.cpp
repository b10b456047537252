#include <fmt/format.h>

#include <algorithm>
#include <system_error>

#include "profiles/keys.hpp"
#include "profiles/networks.hpp"
#include "src/base/blocking.hpp"
#include "src/base/cut_file.hpp"
#include "src/base/file.hpp"
#include "src/daemon/core.hpp"
#include "src/daemon/preparation.hpp"
#include "src/daemon/transitions/transitions.hpp"

namespace cl::transition {
namespace {

/// vfkit may run a machine without Rosetta though it was told to run it with.
void check_rosetta(Core& core, Machine& machine) {
  const std::string why = machine.rosetta_refused();
  if (why.empty()) return;
  if (core.state().profile.rosetta == RosettaWish::on)
    throw Error(Errc::host_requirement, "Rosetta cannot be used",
                "softwareupdate --install-rosetta --agree-to-license, or set vm.rosetta to auto")
        .because(why);
  State& state = core.store.edit();
  state.rosetta = false;
  state.rosetta_why_not = why;
  core.notes.push_back("without Rosetta, amd64 programs are translated by qemu-user: " + why);
}

asio::awaitable<BootPlan> plan_for_machine(Core& core, Job& job, int lock_fd, bool new_data) {
  co_await core.parts.login(core.paths);  // the plan below carries the keys
  co_await core.shares.choose_for_boot();
  const BootOptions options{.allow_new_data = new_data};
  BootPlan plan = co_await core.parts.plan(core.home, core.paths, core.store, core.driver->traits(), job, options);
  plan.lock_fd = lock_fd;
  core.shares.add_devices(plan);
  co_return plan;
}

}  // namespace

asio::awaitable<void> boot(Core& core, Job& job, Profile wanted, bool new_data) {
  auto machine_lock = FileLock::try_acquire(core.paths.machine_lock);
  if (!machine_lock)
    throw Error(Errc::busy, "a machine of profile '" + core.paths.name + "' runs but does not answer",
                "'colima-like stop --force' ends it, with its containers");
  core.store.edit().profile = std::move(wanted);
  if (core.parts.networks && core.state().profile.remote_hosts.empty())
    for (const NetworkClash& clash :
         network_clashes(core.paths.name, core.state().profile, host_facts(), core.parts.networks())) {
      std::string note = clash.text + "; " + clash.remedy;
      if (std::find(core.notes.begin(), core.notes.end(), note) == core.notes.end())  // it may boot a second time
        core.notes.push_back(std::move(note));
    }
  core.store.edit().platforms.clear();
  // Not later: a saved memory must not be loaded over disks that have been used since.
  co_await blocking([saved = core.saved]() mutable { saved.discard(); });
  // First the socket: a foreign file at its path is told before anything boots, and a client that comes early waits.
  co_await core.engine_socket.open();

  const std::string driver = resolved_driver(core.state().profile, host_facts());
  core.store.edit().driver = driver;
  core.driver = core.parts.driver(driver);
  const bool own = core.driver->traits().own_machine;
  BootPlan plan;
  if (own) {
    plan = co_await plan_for_machine(core, job, machine_lock->fd(), new_data);
  } else {
    plan = plan_for_host(core, machine_lock->fd());
  }
  const Patience& patience = core.parts.patience;
  const Saving saving =
      co_await with_timeout(patience.boot, "looking at what the hypervisor can", core.driver->saving(plan));
  State& state = core.store.edit();
  state.fingerprint = saving.fingerprint;
  state.not_saved = saving.why_not;
  if (own) job.begin("boot", "starting the machine");
  std::error_code ignored;
  fs::remove(core.paths.console_log, ignored);
  fs::remove(older_part(core.paths.console_log), ignored);
  // On disk before there is a hypervisor: whoever takes it over must know its driver, and whose data it has.
  co_await core.store.flush();
  const LiveMachine machine(
      co_await with_timeout(patience.boot, "starting the hypervisor", core.driver->boot(std::move(plan))));
  core.store.edit().machine_pid = machine->pid();
  core.enter(phase::Booting{machine});
  check_rosetta(core, *machine);
  co_await core.open_services();
  if (!own) co_return;
  job.end(fmt::format("the machine is started: {}, {} CPUs, {} memory, {}", core.state().arch,
                      core.state().profile.cpus, core.state().profile.memory.str(), core.state().accel));
}

}  // namespace cl::transition
