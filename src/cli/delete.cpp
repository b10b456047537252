#include "profiles/state.hpp"
#include "src/app/autostart.hpp"
#include "src/base/file.hpp"
#include "src/cli/command.hpp"
#include "src/cli/launch.hpp"
#include "src/cli/output.hpp"
#include "src/cli/socket_link.hpp"

namespace cl::cli {
namespace {

/// A link to a profile that is gone leads nowhere.
void take_link_away(const Home& home, const ProfilePaths& paths) {
  std::error_code no_link;
  if (fs::read_symlink(usual_socket, no_link) != paths.docker_socket) return;
  try {
    unlink_socket(usual_socket, home.profiles);
  } catch (const Error& error) {
    print_note(std::string(usual_socket) + " still leads to it: " + one_line(error));
  }
}

asio::awaitable<int> remove_profile(const Invocation& call) {
  const ProfilePaths paths = profile_paths(call.home, call.profile);
  if (call.force && !file_exists(paths.config)) {
    print_note("there is no profile '" + paths.name + "': nothing to delete");
    co_return 0;
  }
  require_profile(paths);
  if (!call.force && observe(paths).machine_alive)
    throw Error(Errc::busy, "profile '" + paths.name + "' is running",
                "stop it first, or use --force to power it off and delete it");
  rpc::Connection daemon = co_await reach_daemon(paths, false);
  rpc::Delete request;
  request.data = call.data;
  const rpc::Told told = co_await call_with_progress(daemon, request);
  forget_current(call.home, paths.name);
  take_link_away(call.home, paths);
  if (co_await disable_autostart(call.home, paths.name)) print_note("it does not start by itself any more");
  print_told(told);
  co_return 0;
}

}  // namespace

int run_delete(const Invocation& call) { return run_async(remove_profile(call)); }

}  // namespace cl::cli
