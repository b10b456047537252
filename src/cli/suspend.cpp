#include "profiles/state.hpp"
#include "src/cli/command.hpp"
#include "src/cli/launch.hpp"
#include "src/cli/output.hpp"

namespace cl::cli {
namespace {

asio::awaitable<int> suspend(const Invocation& call) {
  const ProfilePaths paths = profile_paths(call.home, call.profile);
  require_profile(paths);
  const Observed seen = observe(paths);
  if (!seen.daemon_alive && !seen.machine_alive && seen.state.phase != "suspended")
    throw Error(Errc::not_running, "profile '" + paths.name + "' is not running", "colima-like start");
  rpc::Connection daemon = co_await reach_daemon(paths, false);
  rpc::Suspend request;
  const rpc::Told told = co_await call_with_progress(daemon, request);
  print_told(told);
  co_return 0;
}

}  // namespace

int run_suspend(const Invocation& call) { return run_async(suspend(call)); }

}  // namespace cl::cli
