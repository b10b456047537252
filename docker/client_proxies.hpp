#pragma once

#include <filesystem>
#include <optional>
#include <string>

/// The proxies that docker's client gives to the builds and containers which it starts: `proxies` in its config.json
/// (docs.docker.com/engine/cli/proxy), which has an entry for each engine, by address, and none of its commands writes.
namespace cl::docker {

/// As containers are to see them; empty: none of that kind.
struct ClientProxies {
  std::string http, https, none;
};

/// config.json as the client would find it with these values of DOCKER_CONFIG and HOME. Symbolic links are followed.
std::filesystem::path client_config(const std::string& docker_config, const std::string& home);

/// Whether there is an entry for the engine at `socket`. False, too, without a file.
/// Throws Error{host_requirement} for a file that the client could not read either.
bool has_client_proxies(const std::filesystem::path& config, const std::filesystem::path& socket);

/// Makes `proxies` that entry, or removes it, and leaves everything else as it is, the file's mode and its order, too.
/// Writes nothing when nothing differs; a file that is missing is made when it is needed. Throws as above, and
/// Error{io}.
void set_client_proxies(const std::filesystem::path& config, const std::filesystem::path& socket,
                        const std::optional<ClientProxies>& proxies);

}  // namespace cl::docker
