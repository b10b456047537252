#include "src/base/blocking.hpp"
#include "src/base/child.hpp"
#include "src/base/failure.hpp"
#include "src/base/file.hpp"
#include "src/base/log.hpp"
#include "src/daemon/core.hpp"
#include "src/daemon/preparation.hpp"
#include "src/daemon/transitions/transitions.hpp"

// Saved or Paused to Booting. The order, which docs/architecture.md explains: the marker is checked; a hypervisor waits
// for the memory; the services connect to it; it loads; the marker goes, for good; the guest runs; the services go on.

namespace cl::transition {
namespace {

/// In a process of its own: the file system makes the caller wait for what is still being written of a large file.
asio::awaitable<void> remove_in_background(fs::path file) {
  Command command;
  command.argv = {"rm", "-f", file.string()};
  auto child = Child::start(co_await asio::this_coro::executor, command);
  co_await child.wait();
}

asio::awaitable<void> require_usable(const Core& core, SavedFacts facts) {
  auto check = [saved = core.saved, facts] { return saved.unusable(facts); };
  const auto why = co_await blocking(std::move(check));
  if (why) throw Error(Errc::io, *why);
}

asio::awaitable<void> unpause(Core& core, Job& job, LiveMachine machine) {
  job.begin("resume", "resuming the paused machine");
  core.enter(phase::Booting{machine});
  const bool session_kept = core.guest.connected();
  co_await with_timeout(core.parts.patience.answer, "letting the guest's CPUs go on", machine->resume());
  co_await core.open_services();
  co_await core.resume_services();
  co_await core.guest.link()->set_clock(GuestAccess::wake_patience);
  if (!session_kept) co_await core.shares.bring_back();
  job.end("the machine is resumed");
}

/// What is needed before there is a hypervisor. A failure is one that a boot would have, too (a full disk, no QEMU), so
/// the saved machine is kept for a better time.
struct Prepared {
  FileLock machine_lock;
  BootPlan plan;
  std::string fingerprint;
};

asio::awaitable<Prepared> prepare(Core& core, Job& job) {
  auto machine_lock = FileLock::try_acquire(core.paths.machine_lock);
  if (!machine_lock) throw Error(Errc::busy, "a machine of profile '" + core.paths.name + "' still runs");
  co_await core.engine_socket.open();
  const BootOptions options;  // what was saved belongs to disks that are there
  BootPlan plan = co_await core.parts.plan(core.home, core.paths, core.store, core.driver->traits(), job, options);
  core.shares.add_devices(plan);
  Saving saving =
      co_await with_timeout(core.parts.patience.boot, "looking at what the hypervisor can", core.driver->saving(plan));
  plan.lock_fd = machine_lock->fd();
  plan.incoming = true;
  co_return Prepared{std::move(*machine_lock), std::move(plan), std::move(saving.fingerprint)};
}

SavedFacts facts_of(const Core& core, std::string hypervisor) {
  return SavedFacts{std::string(core.driver->name()),
                    std::move(hypervisor),
                    core.state().image_digest,
                    {core.paths.root_disk, core.paths.data_disk}};
}

asio::awaitable<void> load(Core& core, Job& job, Prepared prepared) {
  co_await require_usable(core, facts_of(core, prepared.fingerprint));
  job.begin("resume", "resuming the suspended machine");
  const Patience& patience = core.parts.patience;
  const LiveMachine machine(
      co_await with_timeout(patience.boot, "starting the hypervisor", core.driver->boot(std::move(prepared.plan))));
  core.store.edit().machine_pid = machine->pid();
  core.enter(phase::Booting{machine});
  co_await core.machine_watch.open();

  co_await core.reattach_services();
  const bool session_kept = core.guest.connected();
  co_await with_timeout(patience.memory, "loading the memory", machine->load(core.saved.memory()));
  co_await blocking([saved = core.saved]() mutable { saved.use_up(); });
  co_await with_timeout(patience.answer, "letting the guest's CPUs go on", machine->resume());
  co_await with_timeout(patience.answer, "allowing the guest to reboot", machine->allow_reboot());
  const fs::path used = co_await blocking([saved = core.saved]() mutable { return saved.set_aside(); });
  core.spawn("removing the used memory", remove_in_background(used));
  co_await core.open_services();
  co_await core.resume_services();
  co_await core.guest.link()->set_clock(GuestAccess::wake_patience);
  if (!session_kept) co_await core.shares.bring_back();
  job.end("the machine is resumed");
}

}  // namespace

asio::awaitable<bool> resume(Core& core, Job& job) {
  const auto* paused = std::get_if<phase::Paused>(&core.phase());
  std::optional<Error> failure;
  if (paused != nullptr) {
    failure = co_await failure_of(unpause(core, job, paused->machine));
  } else {
    core.enter(phase::Preparing{});
    SavedFacts facts = facts_of(core, std::string());
    failure = co_await failure_of(require_usable(core, std::move(facts)));
    if (!failure) {
      Prepared prepared = co_await prepare(core, job);
      failure = co_await failure_of(load(core, job, std::move(prepared)));
    }
  }
  if (!failure) co_return true;
  const std::string why = one_line(*failure);
  log::warn("cannot resume: {}", why);
  core.notes.push_back("the machine was not resumed but booted: " + why);
  co_await end_hypervisor(core);
  co_await core.forget_machine();
  if (!is<phase::Preparing>(core.phase())) core.enter(phase::Preparing{});
  co_await discard_saved(core);
  job.end("the suspended machine cannot be resumed");
  co_return false;
}

}  // namespace cl::transition
