#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/async.hpp"

/// Docker contexts, through the user's own docker CLI: what it has a command for in its config.json is its own to
/// write. Tried with docker 20.10 (Debian 12) and 28.2. Each call of the CLI takes about 15 ms.
namespace cl::docker {

/// How to call the docker CLI as the user would.
struct Cli {
  std::string program = "docker";        ///< looked up in PATH, or a path
  std::vector<std::string> environment;  ///< "NAME=value" over our own, such as DOCKER_CONFIG and HOME of the caller
};

/// "colima-like" for the profile `default`, "colima-like-NAME" for others.
std::string context_name(std::string_view profile);

/// What activate() did.
struct Activated {
  std::string previous;  ///< the context that was current before; `default` when that one no longer exists.
                         ///< Equal to the name itself when ours was already current.
  bool changed = false;  ///< whether anything was written
};

/// Creates or updates the context so that it leads to `socket`, and makes it the current one.
/// Nothing when this host has no docker CLI. Throws Error{host_requirement} with the CLI's own words when it fails.
/// One call of the CLI when all is as it should be, three at most.
asio::awaitable<std::optional<Activated>> activate(Cli cli, std::string name, std::string description,
                                                   std::filesystem::path socket);

/// The name of the current context; nothing without a docker CLI. Throws as activate() does.
asio::awaitable<std::optional<std::string>> current(Cli cli);

/// Makes `previous` current again, but only if `name` still is: a choice that the user has made since stays.
/// `default` instead when `previous` is gone, or is one of ours whose socket is gone. True when it switched;
/// false too without a docker CLI. Throws as activate() does.
asio::awaitable<bool> restore(Cli cli, std::string name, std::string previous);

/// Removes the context, switching to `default` first if it is current. True when there was one. Throws as above.
asio::awaitable<bool> remove(Cli cli, std::string name);

/// A line for the user when the environment they call docker with ("NAME=value" entries) overrides the current
/// context and so hides ours; nothing when it does not. DOCKER_HOST comes before DOCKER_CONTEXT, as in docker.
std::optional<std::string> hidden_by(const std::vector<std::string>& environment, std::string_view name,
                                     const std::filesystem::path& socket);

}  // namespace cl::docker
