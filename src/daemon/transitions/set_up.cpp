#include <fmt/format.h>

#include <algorithm>

#include "profiles/runtime.hpp"
#include "provision/steps.hpp"
#include "src/base/blocking.hpp"
#include "src/base/file.hpp"
#include "src/daemon/core.hpp"
#include "src/daemon/transitions/transitions.hpp"

namespace cl::transition {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t console_lines = 12;

/// What explains a guest that did not come up: its kernel's panic and what follows, else its last lines.
std::string console_excerpt(const fs::path& console) {
  constexpr std::size_t panic_and_its_trace = 60;
  const std::string text = tail_lines(console, panic_and_its_trace);
  const auto panic = text.rfind("Kernel panic");
  if (panic == std::string::npos) return last_lines(text, console_lines);
  std::size_t end = text.rfind('\n', panic) + 1;  // npos + 1 is the beginning
  const std::size_t begin = end;
  for (std::size_t i = 0; i < console_lines && end < text.size(); ++i)
    end = std::min(text.find('\n', end), text.size() - 1) + 1;
  return text.substr(begin, end - begin);
}

asio::awaitable<std::shared_ptr<Guest>> wait_for_guest(Core& core) {
  std::optional<Error> unreachable;
  try {
    co_return co_await core.guest.reach(GuestAccess::boot_patience);
  } catch (const Error& error) {
    unreachable = error;
  }
  throw unreachable->with_remedy("the whole console is in " + core.paths.console_log.string())
      .because("the console says\n" + console_excerpt(core.paths.console_log));
}

/// The result of `main`, once both have ended. When one fails the other is cancelled, and the failure thrown.
template <class T>
asio::awaitable<T> both(asio::awaitable<void> other, asio::awaitable<T> main) {
  auto executor = co_await asio::this_coro::executor;
  auto pair = asio::experimental::make_parallel_group(asio::co_spawn(executor, std::move(main), asio::deferred),
                                                      asio::co_spawn(executor, std::move(other), asio::deferred));
  auto [order, failure, result, other_failure] =
      co_await pair.async_wait(asio::experimental::wait_for_one_error(), asio::use_awaitable);
  if (order[0] == 1 && other_failure) std::rethrow_exception(other_failure);
  if (failure) std::rethrow_exception(failure);
  if (other_failure) std::rethrow_exception(other_failure);
  co_return std::move(result);
}

asio::awaitable<ProvisionPlan> plan_for(Core& core, Guest& guest) {
  const std::string address = co_await core.guest.host_address(guest);
  const State& state = core.state();
  auto read = [files = state.profile.certificates] { return read_certificates(files); };
  const std::string certificates = co_await blocking(Files::users, std::move(read));
  const HostSide host{address, certificates};
  ProvisionPlan plan;
  plan.data_owner = state.data_owner;
  // In a hidden folder of a share nothing can be made: Shares puts it there.
  if (core.shares.covered_socket().empty()) plan.host_socket = core.paths.docker_socket;
  plan.runtime = state.profile.runtime;
  plan.files = guest_files(state.profile, host);
  plan.scripts = state.profile.provision;
  plan.platforms = PlatformPlan{state.arch, state.rosetta, state.rosetta_why_not};
  co_return plan;
}

/// Ends when no step has begun for so long.
asio::awaitable<void> watch_steps(Core& core, const std::string& step, const Clock::time_point& began) {
  const auto limit = core.parts.patience.set_up;
  while (Clock::now() - began < limit)
    co_await sleep_for(std::chrono::duration_cast<std::chrono::milliseconds>(began + limit - Clock::now()) +
                       std::chrono::milliseconds(1));
  throw Error(Errc::guest_failed, "the guest's set-up does not end",
              "look into the guest with 'colima-like ssh', and start again")
      .because(fmt::format("it is at '{}' since {} s", step,
                           std::chrono::duration_cast<std::chrono::seconds>(Clock::now() - began).count()));
}

asio::awaitable<Provisioned> provision(Core& core, Job& job, std::shared_ptr<Guest> guest, ProvisionPlan plan) {
  std::string step = "its beginning";
  Clock::time_point began = Clock::now();
  auto say = [&](std::string_view doing) {
    job.say(std::string(doing));
    step = doing;
    began = Clock::now();
  };
  std::optional<Provisioned> done;
  auto work = store(core.parts.provision(*guest, std::move(plan), say), done);
  const auto executor = co_await asio::this_coro::executor;
  auto race =
      asio::experimental::make_parallel_group(asio::co_spawn(executor, std::move(work), asio::deferred),
                                              asio::co_spawn(executor, watch_steps(core, step, began), asio::deferred));
  auto [order, failure, hang] = co_await race.async_wait(asio::experimental::wait_for_one(), asio::use_awaitable);
  if (order[0] == 1 && hang) std::rethrow_exception(hang);
  if (failure) std::rethrow_exception(failure);
  if (!done) throw Error(Errc::internal, "the guest's set-up has ended without a result");
  co_return std::move(*done);
}

}  // namespace

asio::awaitable<void> set_up(Core& core, Job& job) {
  if (!core.driver->traits().own_machine) co_return co_await set_up_host(core, job);
  job.begin("guest", "waiting for the guest's SSH server");
  const std::shared_ptr<Guest> guest = co_await wait_for_guest(core);
  const auto machine = machine_of(core.phase());
  if (machine)
    co_await with_timeout(core.parts.patience.answer, "allowing the guest to reboot", (*machine)->allow_reboot());
  job.end("the guest's SSH server answers");

  const std::string lack = co_await core.parts.tools(core.home, core.state(), *guest, job);
  if (!lack.empty()) core.notes.push_back(lack);
  job.begin("provision", "setting the guest up");
  ProvisionPlan plan = co_await plan_for(core, *guest);
  // At once: Docker, whose start ends the set-up, waits for the shares.
  Provisioned done = co_await both(core.shares.reconcile(), provision(core, job, guest, std::move(plan)));
  State& state = core.store.edit();
  state.data_ready = true;
  state.platforms = std::move(done.platforms);
  state.runtime_version.clear();
  std::string changed;
  for (const StepResult& step : done.steps)
    if (step.changed) changed += (changed.empty() ? "" : ", ") + step.name;
  job.end(changed.empty() ? "the guest is set up; nothing had to change" : "the guest is set up (" + changed + ")");

  co_await core.services_ready();
  co_await core.guest.try_set_clock();
  const Runtime& runtime = runtime_of(core.state().profile);
  if (runtime.title.empty()) co_return;
  job.begin("runtime", fmt::format("asking {} for its version", runtime.title));
  const std::string version =
      co_await with_timeout(core.parts.patience.version, "the answer of " + std::string(runtime.title),
                            core.parts.runtime_version(*guest, runtime));
  core.store.edit().runtime_version = version;
  job.end(fmt::format("{} {} answers", runtime.title, version));
}

}  // namespace cl::transition
