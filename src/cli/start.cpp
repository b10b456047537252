#include <cstdlib>
#include <iostream>

#include "src/base/file.hpp"
#include "src/cli/command.hpp"
#include "src/cli/launch.hpp"
#include "src/cli/output.hpp"

namespace cl::cli {
namespace {

namespace json = boost::json;

/// What the daemon must know of the caller's environment: where docker keeps its contexts, and what hides ours.
json::object docker_environment() {
  json::object environment;
  for (const char* name : {"HOME", "DOCKER_CONFIG", "DOCKER_HOST", "DOCKER_CONTEXT"})
    if (const char* value = std::getenv(name); value != nullptr && *value != '\0') environment[name] = value;
  return environment;
}

asio::awaitable<int> start(const Invocation& call) {
  const ProfilePaths paths = profile_paths(call.home, call.profile);
  load_profile(paths, call.settings);  // a wrong flag or file is told before anything is created
  const bool is_new = !fs::exists(paths.directory);
  rpc::Connection daemon = co_await reach_daemon(paths, true);
  json::object settings;
  for (const auto& [name, text] : call.settings) settings[name] = text;
  rpc::Request request{"start", {}};
  request.arguments["settings"] = settings;
  request.arguments["environment"] = docker_environment();
  request.arguments["is_new"] = is_new;
  const json::object result = co_await call_with_progress(daemon, std::move(request));
  for (const json::value& note : result.at("notes").as_array()) print_note(std::string(note.as_string()));
  std::cout << std::string_view(result.at("summary").as_string()) << '\n';
  co_return 0;
}

}  // namespace

int run_start(const Invocation& call) { return run_async(start(call)); }

}  // namespace cl::cli
