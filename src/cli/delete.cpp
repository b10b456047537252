#include <iostream>

#include "profiles/state.hpp"
#include "src/cli/command.hpp"
#include "src/cli/launch.hpp"

namespace cl::cli {
namespace {

asio::awaitable<int> remove_profile(const Invocation& call) {
  const ProfilePaths paths = profile_paths(call.home, call.profile);
  require_profile(paths);
  if (!call.force && observe(paths).machine_alive)
    throw Error(Errc::busy, "profile '" + paths.name + "' is running",
                "stop it first, or use --force to power it off and delete it");
  rpc::Connection daemon = co_await reach_daemon(paths, false);
  rpc::Request request{"delete", {}};
  request.arguments["data"] = call.data;
  request.arguments["force"] = call.force;
  const auto result = co_await call_with_progress(daemon, std::move(request));
  forget_current(call.home, paths.name);
  std::cout << std::string_view(result.at("summary").as_string()) << '\n';
  co_return 0;
}

}  // namespace

int run_delete(const Invocation& call) { return run_async(remove_profile(call)); }

}  // namespace cl::cli
