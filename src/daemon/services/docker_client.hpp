#pragma once

#include <map>
#include <string>

#include "docker/context.hpp"
#include "src/daemon/service.hpp"

namespace cl {

struct Core;
class Job;

/// What the user's docker CLI is given: a context that leads to the engine's socket, and the proxies for builds and
/// containers. A failure here is a note and no reason to fail a start: the machine works all the same.
class DockerClient : public Service {
 public:
  explicit DockerClient(Core& core) : core_(core) {}

  std::string_view name() const noexcept override { return "docker's context"; }
  /// The context that was current before comes back, and the proxies go.
  asio::awaitable<void> close() override;

  /// Makes the profile's context the current one. `environment` is the caller's HOME and DOCKER_*.
  asio::awaitable<void> activate(Job& job, std::map<std::string, std::string> environment);
  /// The profile's proxies, as they are now, in docker's config.json.
  asio::awaitable<void> update_proxies();
  /// Removes the context: the profile goes away.
  asio::awaitable<void> remove_context();

 private:
  docker::Cli cli() const;
  asio::awaitable<void> restore_context();
  asio::awaitable<void> write_proxies();
  asio::awaitable<void> remove_proxies();

  Core& core_;
};

}  // namespace cl
