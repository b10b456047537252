#include <unistd.h>

#include <cstdlib>

#include "src/base/file.hpp"
#include "src/cli/command.hpp"
#include "src/cli/launch.hpp"
#include "src/cli/output.hpp"
#include "src/cli/sandbox.hpp"
#include "src/cli/summary.hpp"

namespace cl::cli {
namespace {

/// What the daemon must know of the caller's environment: where docker keeps its contexts, and what hides ours.
rpc::TextMap docker_environment() {
  rpc::TextMap environment;
  for (const char* name : {"HOME", "DOCKER_CONFIG", "DOCKER_HOST", "DOCKER_CONTEXT"})
    if (const char* value = std::getenv(name); value != nullptr && *value != '\0') environment[name] = value;
  return environment;
}

/// Where the agent's socket is now: what a link leads to later may be another's choice.
std::string ssh_agent_socket() {
  const char* named = std::getenv("SSH_AUTH_SOCK");
  if (named == nullptr || *named != '/') return {};
  std::error_code missing;
  const fs::path real = fs::canonical(named, missing);
  return missing ? named : real.string();
}

/// The call with its --share flags as the key that they mean.
Invocation with_shares_as_setting(Invocation call, const ProfilePaths& paths) {
  if (call.shares.empty()) return call;
  const Layered before = load_layers(paths, environment_settings(), call.settings);
  call.settings["shares"] = with_shares(before.profile.shares, call.shares);
  return call;
}

Invocation with_files_pinned(Invocation call) {
  for (const char* key : {"image", "containerd.tools"})
    if (const auto file = call.settings.find(key); file != call.settings.end())
      file->second = with_digest(file->second);
  return call;
}

/// The environment's settings and, over them, the flags.
Settings settings_of_this_run(const Invocation& call) {
  Settings settings = environment_settings();
  for (const auto& [name, text] : call.settings) settings[name] = text;
  return settings;
}

asio::awaitable<int> start(const Invocation& given) {
  const ProfilePaths paths = profile_paths(given.home, given.profile);
  const bool is_new = !file_exists(paths.directory);
  if (given.sandbox) make_sandbox(given);
  const Invocation call = with_files_pinned(with_shares_as_setting(given, paths));
  // A wrong flag or file is told before anything is created or stopped.
  const Layered wanted = load_layers(paths, environment_settings(), call.settings);
  if (const auto state = load_state(paths)) refuse_recreation(paths, state->profile, wanted);
  const Observed seen = observe(paths);
  if (!seen.machine_alive && (seen.state.phase != "suspended" || call.cold))
    if (const std::string slow = slow_image(call.home, wanted.profile, host_facts()); !slow.empty()) print_note(slow);
  if (is_new && ::geteuid() == 0)
    print_note(
        "this is root: whatever breaks out of the machine has all rights on this computer; colima-like needs "
        "none of them");
  rpc::Connection daemon = co_await reach_daemon(paths, true);
  rpc::Start request;
  request.settings = settings_of_this_run(call);
  request.environment = docker_environment();
  request.ssh_agent = ssh_agent_socket();
  request.cold = call.cold;
  request.is_new = is_new;
  request.new_data = call.new_data;
  const rpc::Told told = co_await call_with_progress(daemon, std::move(request));
  print_told(told);
  co_return 0;
}

asio::awaitable<int> apply(const Invocation& call) {
  const ProfilePaths paths = profile_paths(call.home, call.profile);
  require_profile(paths);
  load_layers(paths, environment_settings(), {});
  const Observed seen = observe(paths);
  if (seen.state.phase == "suspended")
    throw Error(Errc::not_running, "profile '" + paths.name + "' is suspended",
                "colima-like start " + paths.name + " resumes it and applies the new settings");
  if (!seen.machine_alive)
    throw Error(Errc::not_running, "profile '" + paths.name + "' is not running",
                "colima-like start " + paths.name + " uses the new settings");
  rpc::Connection daemon = co_await reach_daemon(paths, false);
  rpc::Apply request;
  request.settings = settings_of_this_run(call);
  const rpc::Told told = co_await call_with_progress(daemon, std::move(request));
  print_told(told);
  co_return 0;
}

}  // namespace

int run_start(const Invocation& call) { return run_async(start(call)); }
int run_apply(const Invocation& call) { return run_async(apply(call)); }

}  // namespace cl::cli
