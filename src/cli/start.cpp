#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <sstream>

#include "profiles/edit.hpp"
#include "src/base/file.hpp"
#include "src/base/printable.hpp"
#include "src/cli/command.hpp"
#include "src/cli/config.hpp"
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

/// With --host, a new profile's file names the host: it is not only for this run.
void keep_host(const Invocation& call) {
  const auto hosts = call.settings.find("hosts");
  const ConfigFile config = config_file(call);
  if (hosts == call.settings.end() || file_exists(config.paths.directory)) return;
  try {
    const FileLock lock = config.lock();
    config.install(set_in_file(config.read(), *find_key("hosts"), hosts->second, config.file.string()));
    load_layers(config.paths, environment_settings(), call.settings);  // flags that no host can take
  } catch (...) {
    remove_tree(config.paths.directory);  // as if it had not been asked for
    throw;
  }
}

/// Asks whether a host may be changed, where there is somebody to ask.
bool agrees(const Error& asked) {
  if (asked.remedy() != rpc::agree || ::isatty(STDIN_FILENO) == 0 || ::isatty(STDERR_FILENO) == 0) return false;
  std::cerr << asked.what() << ", to\n";
  std::istringstream lines(asked.cause());
  for (std::string line; std::getline(lines, line);) std::cerr << "  * " << printable(line) << '\n';
  std::cerr << "Is that all right? [y/N] " << std::flush;
  std::string answer;
  return std::getline(std::cin, answer) && (answer == "y" || answer == "Y" || answer == "yes");
}

asio::awaitable<rpc::Told> start_or_ask(const ProfilePaths& paths, rpc::Start request) {
  std::optional<Error> question;
  try {
    rpc::Connection daemon = co_await reach_daemon(paths, true);
    co_return co_await call_with_progress(daemon, request);
  } catch (const Error& error) {
    question = error;
  }
  if (!agrees(*question)) throw *question;
  request.yes = true;
  rpc::Connection daemon = co_await reach_daemon(paths, true);
  co_return co_await call_with_progress(daemon, std::move(request));
}

asio::awaitable<int> start(const Invocation& given) {
  const ProfilePaths paths = profile_paths(given.home, given.profile);
  const bool is_new = !file_exists(paths.directory);
  if (given.sandbox) make_sandbox(given);
  keep_host(given);
  const Invocation call = with_files_pinned(with_shares_as_setting(given, paths));
  // A wrong flag or file is told before anything is created or stopped.
  const Layered wanted = load_layers(paths, environment_settings(), call.settings);
  if (const auto state = load_state(paths)) refuse_recreation(paths, state->profile, wanted);
  const Observed seen = observe(paths);
  const bool own_machine = wanted.profile.remote_hosts.empty();
  if (own_machine && !seen.machine_alive && (seen.state.phase != "suspended" || call.cold))
    if (const std::string slow = slow_image(call.home, wanted.profile, host_facts()); !slow.empty()) print_note(slow);
  if (own_machine && is_new && ::geteuid() == 0)
    print_note(
        "this is root: whatever breaks out of the machine has all rights on this computer; colima-like needs "
        "none of them");
  rpc::Start request;
  request.settings = settings_of_this_run(call);
  request.environment = docker_environment();
  request.ssh_agent = ssh_agent_socket();
  request.cold = call.cold;
  request.is_new = is_new;
  request.new_data = call.new_data;
  request.yes = call.yes;
  const rpc::Told told = co_await start_or_ask(paths, std::move(request));
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
