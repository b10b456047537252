#include <iostream>

#include "profiles/state.hpp"
#include "src/cli/command.hpp"
#include "src/cli/launch.hpp"
#include "src/cli/output.hpp"

namespace cl::cli {
namespace {

asio::awaitable<int> stop(const Invocation& call) {
  const ProfilePaths paths = profile_paths(call.home, call.profile);
  require_profile(paths);
  const Observed seen = observe(paths);
  if (!seen.daemon_alive && !seen.machine_alive && seen.state.phase != "suspended") {
    std::cout << "profile '" << paths.name << "' is already stopped\n";
    co_return 0;
  }
  rpc::Connection daemon = co_await reach_daemon(paths, false);
  rpc::Stop request;
  request.force = call.force;
  rpc::Told told = co_await call_with_progress(daemon, request);
  if (told.summary.empty()) told.summary = "profile '" + paths.name + "' is stopped";
  print_told(told);
  co_return 0;
}

}  // namespace

int run_stop(const Invocation& call) { return run_async(stop(call)); }

int run_restart(const Invocation& call) {
  const ProfilePaths paths = profile_paths(call.home, call.profile);
  require_profile(paths);
  // What the start would refuse is told while the machine still runs.
  const Layered wanted = load_layers(paths, environment_settings(), call.settings);
  if (const auto state = load_state(paths)) refuse_recreation(paths, state->profile, wanted);
  if (const int code = run_stop(call); code != 0) return code;
  return run_start(call);
}

}  // namespace cl::cli
