#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <system_error>

#include "profiles/keys.hpp"
#include "profiles/runtime.hpp"
#include "src/base/blocking.hpp"
#include "src/base/failure.hpp"
#include "src/base/file.hpp"
#include "src/base/log.hpp"
#include "src/daemon/core.hpp"
#include "src/daemon/preparation.hpp"
#include "src/daemon/transitions/transitions.hpp"

namespace cl::transition {
namespace {

asio::awaitable<Layered> read_profile(const Core& core, Settings settings) {
  auto read = [paths = core.paths, last = core.state().profile, settings = std::move(settings)] {
    Layered layers = load_layers(paths, {}, settings);
    refuse_recreation(paths, last, layers);
    return layers;
  };
  co_return co_await blocking(std::move(read));
}

/// A hypervisor that was killed a moment ago may still be giving its memory back: then it answers no more, and its end,
/// which is near, is waited for.
asio::awaitable<bool> still_answers(LiveMachine machine) {
  constexpr auto patience = std::chrono::seconds(5);
  const auto failure = co_await failure_of(with_timeout(patience, "the hypervisor's answer", machine->resume()));
  if (!failure) co_return true;
  log::warn("{}", one_line(*failure));
  auto end = [](LiveMachine dying) -> asio::awaitable<void> { dying.set_ended(co_await dying->exited()); };
  co_await attempt("the hypervisor", with_timeout(patience, "the hypervisor's end", end(machine)));
  co_return !machine.ended();
}

/// The live part of `wanted`, into the guest too. When that fails the settings are the old ones, so that the next try
/// finds the difference again.
asio::awaitable<void> bring_in(Core& core, Job& job, Profile wanted) {
  const Profile last = core.state().profile;
  if (!apply_live(core, wanted)) co_return;
  auto work = [](Core& into, Job& by) -> asio::awaitable<void> {
    co_await into.shares.choose_again();
    co_await set_up(into, by);
  };
  const auto failure = co_await failure_of(work(core, job));
  if (!failure) co_return;
  core.store.edit().profile = last;
  throw *failure;
}

/// The suspended machine goes, with all that waits for it: its session would keep whoever is in it for ever.
asio::awaitable<void> give_up_suspended(Core& core) {
  co_await end_hypervisor(core);
  co_await discard_saved(core);
  co_await tear_down(core, {});
}

/// What is saved stays when the data disk is gone: it may be on a disk that is not mounted.
asio::awaitable<void> require_data(const Core& core, StartOrder order) {
  const BootOptions options{.allow_new_data = order.new_data};
  auto look = [paths = core.paths, had = core.state().data_ready, options] { cl::require_data(paths, had, options); };
  co_await blocking(std::move(look));
}

asio::awaitable<void> boot_once(Core& core, Job& job, Profile wanted, bool new_data) {
  co_await boot(core, job, std::move(wanted), new_data);
  co_await set_up(core, job);
}

/// Tries once more when the hypervisor crashed, as a person would: QEMU was seen to abort in a boot, and the next one
/// went well.
asio::awaitable<void> boot_new(Core& core, Job& job, Profile wanted, bool new_data) {
  const auto failure = co_await failure_of(boot_once(core, job, wanted, new_data));
  if (!failure) co_return;
  const auto machine = machine_of(core.phase());
  const auto reason = machine ? machine->ended() : std::nullopt;
  if (!reason || !reason->crashed || job.cancelled()) throw *failure;
  const std::string why = reason->text;
  log::error("{}; the machine is booted once more", one_line(*failure));
  core.notes.push_back("the machine was booted twice: at first " + why);
  co_await core.forget_machine();
  core.enter(phase::Preparing{});
  job.end(why);
  co_await boot_once(core, job, std::move(wanted), new_data);
}

asio::awaitable<std::string> bring_up(Core& core, Job& job, Profile wanted, StartOrder order) {
  bool resumed = false;
  bool repaired = false;
  if (const auto* degraded = std::get_if<phase::Degraded>(&core.phase())) {
    const LiveMachine machine = degraded->machine;
    core.enter(phase::Booting{machine});
    // Of a guest that its hypervisor has stopped, the CPUs go on.
    co_await with_timeout(core.parts.patience.answer, "letting the guest's CPUs go on", machine->resume());
    co_await core.open_services();
    repaired = true;
  } else if (is<phase::Paused, phase::Saved>(core.phase())) {
    if (is<phase::Saved>(core.phase())) co_await require_data(core, order);
    resumed = co_await resume(core, job);
  } else {
    core.enter(phase::Preparing{});
  }
  const bool booted = !repaired && !resumed;
  if (booted) co_await boot_new(core, job, wanted, order.new_data);
  const bool anew = resumed && !order.wake && apply_live(core, wanted);
  if (anew) co_await core.shares.choose_again();
  if (repaired || anew) co_await set_up(core, job);
  if (!order.wake) co_await core.docker_client.activate(job, order.environment);
  const auto machine = machine_of(core.phase());
  if (!machine || machine->ended()) throw Error(Errc::guest_failed, "the machine ended while it started");
  core.enter(phase::Running{*machine});
  co_return resumed ? "is resumed" : "is running";
}

void refuse_hopeless(const Core& core) {
  if (is<phase::Unreachable>(core.phase()) && FileLock::is_held(core.paths.machine_lock))
    throw Error(Errc::busy, "the machine of profile '" + core.paths.name + "' runs but does not answer",
                "'colima-like stop --force' ends it, with its containers");
  if (is<phase::Blocked>(core.phase()))
    throw Error(Errc::host_requirement, "the machine of profile '" + core.paths.name + "' stands still",
                "make room on that disk; the machine goes on by itself, with its containers")
        .because(core.state().reason);
}

}  // namespace

asio::awaitable<boost::json::object> start(Core& core, Job& job, StartOrder order) {
  core.notes.clear();
  core.agreed = order.yes;
  Profile wanted = core.state().profile;
  if (!order.wake) {  // a client of a suspended machine must not wait for a file to be mended
    const Layered layers = co_await read_profile(core, order.settings);
    wanted = layers.profile;
  }
  refuse_hopeless(core);
  // Before a container may ask for it. A shell that has none takes no other one's away.
  if (!order.ssh_agent.empty()) core.store.edit().ssh_agent = order.ssh_agent;
  if (order.wake && is<phase::Running>(core.phase())) co_return started(core, "already runs");
  if (is<phase::Running, phase::Degraded>(core.phase())) {
    const auto machine = machine_of(core.phase());
    const bool lives = machine && co_await still_answers(*machine);
    // It was killed a moment ago (the guest is lost before that is seen): whoever asks for a start gets a machine.
    if (!lives) co_await end_hypervisor(core);
    if (!lives) co_await tear_down(core, "its hypervisor ended");
  }
  if (is<phase::Running>(core.phase())) {
    if (order.cold)
      core.notes.push_back("it runs already; 'colima-like restart " + core.paths.name + "' boots it cold");
    if (order.new_data) core.notes.emplace_back("it has its data disk; --new-data changes nothing");
    co_await bring_in(core, job, wanted);
    co_await core.docker_client.activate(job, order.environment);
    co_return started(core, "already runs");
  }
  if (order.cold && is<phase::Saved>(core.phase())) co_await require_data(core, order);
  if (order.cold && is<phase::Saved, phase::Paused>(core.phase())) co_await give_up_suspended(core);
  const bool repair = is<phase::Degraded>(core.phase());  // its containers must not suffer from a repair that fails
  std::exception_ptr failure;
  std::string summary;
  try {
    summary = co_await bring_up(core, job, wanted, order);
  } catch (...) {
    failure = std::current_exception();
  }
  if (!failure) co_return started(core, summary);

  // Nothing interrupts the cleaning up: no process, socket or half-written file stays.
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  const Error error = error_of(failure);
  const std::string why = "the last start failed: " + std::string(error.what());
  const auto machine = machine_of(core.phase());
  if (repair && machine && !machine->ended()) {
    core.enter(phase::Degraded{*machine}, why);
    throw error;
  }
  co_await end_hypervisor(core);
  co_await tear_down(core, why);
  // Interrupted before it ever ran: as if it had not been asked for. After a failure the logs are wanted.
  auto remove = [directory = core.paths.directory] { remove_tree(directory); };
  if (order.is_new && job.cancelled()) co_await attempt("removing the new profile", blocking(std::move(remove)));
  throw error;
}

asio::awaitable<boost::json::object> apply(Core& core, Job& job, Settings settings) {
  if (!is<phase::Running>(core.phase()))
    throw Error(
        Errc::not_running,
        fmt::format("profile '{}' is {}, and its settings cannot be applied", core.paths.name, to_string(core.phase())),
        "colima-like start " + core.paths.name + " uses the new settings");
  core.notes.clear();
  const Layered layers = co_await read_profile(core, std::move(settings));
  co_await bring_in(core, job, layers.profile);
  co_await core.docker_client.update_proxies();
  co_return started(core, "has its live settings applied");
}

/// The rule of profiles/keys.hpp for a machine that runs.
bool apply_live(Core& core, const Profile& wanted) {
  std::string waiting;
  bool changed = false;
  for (const Difference& one : differences(core.state().profile, wanted, host_facts())) {
    if (one.key->change == Change::live) {
      one.key->set(core.store.edit().profile, one.to);
      changed = true;
      log::info("{} is changed", one.key->name);  // its value may have a password in it
    } else {
      waiting += fmt::format("{}{} is {} and not {}", waiting.empty() ? "" : ", ", one.key->name, one.from, one.to);
    }
  }
  core.idle.look_again();
  if (!waiting.empty())
    core.notes.push_back(fmt::format("the machine runs with other settings: {}; 'colima-like restart {}' changes that",
                                     waiting, core.paths.name));
  return changed;
}

boost::json::object started(const Core& core, std::string summary) {
  boost::json::array notes;
  for (const std::string& note : core.notes) notes.emplace_back(note);
  boost::json::object result;
  const Runtime& runtime = runtime_of(core.state().profile);
  result["summary"] = runtime.title.empty()
                          ? fmt::format("profile '{}' {}, without a container runtime", core.paths.name, summary)
                          : fmt::format("profile '{}' {}: {} {} at unix://{}", core.paths.name, summary, runtime.title,
                                        core.state().runtime_version, host_socket(runtime, core.paths).string());
  result["notes"] = std::move(notes);
  return result;
}

}  // namespace cl::transition
