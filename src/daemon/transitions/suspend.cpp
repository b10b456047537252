#include <fmt/format.h>

#include "src/base/blocking.hpp"
#include "src/base/failure.hpp"
#include "src/base/file.hpp"
#include "src/base/log.hpp"
#include "src/base/platform.hpp"
#include "src/daemon/core.hpp"
#include "src/daemon/transitions/transitions.hpp"

// Running to Saved or Paused. What is saved, and when it is valid: vm/saved_machine.hpp.
//
// The session to the guest is not made anew at a resume: its guest's end is part of the memory that is saved, ours
// stays in this process, and the ports between them are empty when the machine stops. So a resumed guest answers
// without a handshake, which takes an emulated one a second.

namespace cl::transition {
namespace {

constexpr std::uint64_t spare_space = 64ULL << 20;  // beside the memory: device state, and not the last byte

SavedFacts facts_of(const Core& core) {
  return SavedFacts{std::string(core.driver->name()),
                    core.state().fingerprint,
                    core.state().image_digest,
                    {core.paths.root_disk, core.paths.data_disk}};
}

/// For the memory, all of which the guest may have touched, and what the devices are.
asio::awaitable<void> require_space(const Core& core, Machine& machine) {
  const std::uint64_t resident = platform::resident_bytes(machine.pid());
  const std::uint64_t needed = (resident > 0 ? resident : core.state().profile.memory.count()) + spare_space;
  const fs::path place = core.paths.directory;
  const std::uint64_t free = co_await blocking([place] { return free_space(place); });
  if (free >= needed) co_return;
  throw Error(Errc::host_requirement, "there is no space to suspend the machine, which runs on",
              "free some space, or power it off with 'colima-like stop'")
      .because(fmt::format("{} are needed in {} and {} are free", ByteSize::bytes(needed).str(), place.string(),
                           ByteSize::bytes(free).str()));
}

asio::awaitable<void> pause_and_save(Core& core, LiveMachine machine, bool to_disk) {
  const Patience& patience = core.parts.patience;
  co_await with_timeout(patience.answer, "stopping the guest's CPUs", machine->pause());
  if (to_disk) co_await with_timeout(patience.memory, "saving the memory", machine->save(core.saved.memory()));
}

/// The machine goes on, or is gone when it cannot. Throws in any case.
asio::awaitable<void> keep_running(Core& core, LiveMachine machine, Error failure) {
  co_await discard_saved(core);
  const auto lost = co_await failure_of(
      with_timeout(core.parts.patience.answer, "letting the guest's CPUs go on", machine->resume()));
  if (lost) {
    co_await end_hypervisor(core);
    co_await tear_down(core, "it ended while it was being suspended");
    throw Error(Errc::io, "the machine ended while it was being suspended", "colima-like start")
        .because(one_line(failure));
  }
  co_await attempt("after a suspend that failed", core.resume_services());
  core.enter(phase::Running{machine});
  throw Error(failure.code(), "the machine could not be suspended and runs on", failure.remedy())
      .because(one_line(failure));
}

/// The hypervisor has saved and is gone: what it saved is recorded.
asio::awaitable<void> commit(Core& core) {
  co_await core.machine_watch.close();
  co_await attempt("after the suspend", core.detach_services());
  core.store.edit().machine_pid = 0;
  auto record = [saved = core.saved, facts = facts_of(core)]() mutable { saved.commit(facts); };
  auto work = [](auto job) -> asio::awaitable<void> { co_await blocking(std::move(job)); };
  const auto failure = co_await failure_of(work(std::move(record)));
  if (!failure) co_return;
  co_await discard_saved(core);
  co_await tear_down(core, "it could not be suspended: " + one_line(*failure));
  throw Error(Errc::io, "the machine was saved, but that could not be recorded, and it is stopped now",
              "colima-like start; containers come back by their restart policy, their data is untouched")
      .because(one_line(*failure));
}

}  // namespace

asio::awaitable<boost::json::object> suspend(Core& core, Job& job, bool by_itself) {
  boost::json::object result;
  if (is<phase::Saved, phase::Paused>(core.phase())) {
    result["summary"] = "profile '" + core.paths.name + "' is already suspended";
    co_return result;
  }
  if (!core.driver->traits().own_machine)
    throw Error(Errc::invalid_config,
                "the engine of profile '" + core.paths.name + "' is on a host, which cannot be suspended",
                "'colima-like stop' lets go of the host; its containers go on");
  const auto* running = std::get_if<phase::Running>(&core.phase());
  if (running == nullptr)
    throw Error(Errc::not_running,
                fmt::format("profile '{}' is {} and cannot be suspended", core.paths.name, to_string(core.phase())),
                "colima-like start");
  const LiveMachine machine = running->machine;
  const bool to_disk = core.state().not_saved.empty();
  if (to_disk) {
    co_await require_space(core, *machine);
    co_await blocking([saved = core.saved]() mutable { saved.prepare(); });
  }
  if (!is<phase::Running>(core.phase()))
    throw Error(Errc::not_running, "the machine ended before it could be suspended", "colima-like start");

  // From here to its end: half a suspend helps nobody, and it takes about a second.
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  job.begin("suspend", to_disk ? "saving the machine's memory" : "pausing the machine");
  core.enter(phase::Suspending{machine});
  auto work = [](Core& in, LiveMachine of, bool save) -> asio::awaitable<void> {
    co_await in.quiesce_services();
    co_await pause_and_save(in, of, save);
  };
  const auto failure = co_await failure_of(work(core, machine, to_disk));
  if (failure) co_await keep_running(core, machine, *failure);
  if (to_disk) co_await commit(core);
  core.store.edit().asleep = by_itself;
  if (to_disk) {
    core.enter(phase::Saved{});
  } else {
    core.enter(phase::Paused{machine});
  }
  const std::string what = to_disk ? "suspended" : "paused";
  const std::string where = to_disk ? ByteSize::bytes(core.saved.bytes()).str() + " on disk"
                                    : "its memory stays in use: " + core.state().not_saved;
  job.end(fmt::format("the machine is {} ({})", what, where));
  result["summary"] =
      fmt::format("profile '{}' is {} ({}); 'colima-like start', or any use of its docker socket, resumes it",
                  core.paths.name, what, where);
  co_return result;
}

}  // namespace cl::transition
