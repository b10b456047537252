#include "src/daemon/services/docker_client.hpp"

#include <filesystem>
#include <optional>

#include "docker/client_proxies.hpp"
#include "profiles/runtime.hpp"
#include "provision/settings.hpp"
#include "src/base/blocking.hpp"
#include "src/base/failure.hpp"
#include "src/base/log.hpp"
#include "src/daemon/core.hpp"

namespace cl {
namespace {

std::string value_of(const std::map<std::string, std::string>& environment, const std::string& name) {
  const auto found = environment.find(name);
  return found == environment.end() ? std::string() : found->second;
}

}  // namespace

docker::Cli DockerClient::cli() const {
  docker::Cli cli;
  cli.program = core_.parts.docker;
  for (const auto& [name, value] : core_.state().docker_environment) cli.environment.push_back(name + "=" + value);
  return cli;
}

asio::awaitable<void> DockerClient::activate(Job& job, std::map<std::string, std::string> environment) {
  if (!runtime_of(core_.state().profile).speaks_docker) co_return;
  const std::string name = docker::context_name(core_.paths.name);
  const std::string socket = core_.paths.docker_socket.string();
  std::vector<std::string> entries;
  State& state = core_.store.edit();
  state.docker_environment.clear();
  for (const auto& [variable, value] : environment) {
    entries.push_back(variable + "=" + value);
    if (variable == "HOME" || variable == "DOCKER_CONFIG") state.docker_environment[variable] = value;
  }
  if (const auto hidden = docker::hidden_by(entries, name, core_.paths.docker_socket)) core_.notes.push_back(*hidden);

  job.begin("context", "switching the docker context");
  std::optional<docker::Activated> activated;
  auto work = [](docker::Cli with, std::string to, std::string title, std::filesystem::path at,
                 std::optional<docker::Activated>& into) -> asio::awaitable<void> {
    into = co_await docker::activate(std::move(with), std::move(to), std::move(title), std::move(at));
  };
  const std::string title = "colima-like, profile " + core_.paths.name;
  const auto failure = co_await failure_of(work(cli(), name, title, core_.paths.docker_socket, activated));
  if (activated) {
    State& changed = core_.store.edit();
    changed.context = name;
    if (activated->previous != name) changed.previous_context = activated->previous;
    job.end("docker uses the context '" + name + "'");
  } else {
    core_.notes.push_back((failure ? one_line(*failure) : "there is no docker command here") +
                          "; use: export DOCKER_HOST=unix://" + socket);
    job.end("docker's context is not switched");
  }
  co_await update_proxies();
}

asio::awaitable<void> DockerClient::close() {
  co_await attempt("the docker context could not be restored", restore_context());
  co_await attempt("docker's config.json keeps this profile's proxies", remove_proxies());
}

asio::awaitable<void> DockerClient::restore_context() {
  const State& state = core_.state();
  if (state.previous_context.empty()) co_return;
  co_await docker::restore(cli(), state.context, state.previous_context);
  core_.store.edit().previous_context.clear();
}

asio::awaitable<void> DockerClient::remove_context() {
  auto work = [](docker::Cli with, std::string context) -> asio::awaitable<void> {
    co_await docker::remove(std::move(with), std::move(context));
  };
  if (core_.state().context.empty()) co_return;
  co_await attempt("the docker context could not be removed", work(cli(), core_.state().context));
}

asio::awaitable<void> DockerClient::update_proxies() {
  const Profile& profile = core_.state().profile;
  const bool any = !profile.proxy_http.empty() || !profile.proxy_https.empty();
  if (!any || !runtime_of(profile).speaks_docker)
    co_return co_await attempt("docker's config.json keeps this profile's proxies", remove_proxies());
  const auto failure = co_await failure_of(write_proxies());
  if (failure) core_.notes.push_back("builds and containers do not get the proxies: " + one_line(*failure));
}

/// An entry that somebody else made for our socket stays as it is.
asio::awaitable<void> DockerClient::write_proxies() {
  const auto& environment = core_.state().docker_environment;
  const std::string docker_config = value_of(environment, "DOCKER_CONFIG"), home = value_of(environment, "HOME");
  if (docker_config.empty() && home.empty()) co_return;
  const auto reached = co_await core_.guest.reach_for_client();
  const std::string address = co_await core_.guest.host_address(*reached);
  const auto wanted = guest_proxies(core_.state().profile, address);
  const std::filesystem::path socket = core_.paths.docker_socket;
  auto find = [docker_config, home] { return docker::client_config(docker_config, home); };
  const std::filesystem::path config = co_await blocking(Files::users, std::move(find));
  if (core_.state().client_proxies != config) {
    co_await remove_proxies();
    auto look = [config, socket] { return docker::has_client_proxies(config, socket); };
    if (co_await blocking(Files::users, std::move(look))) co_return;
    core_.store.edit().client_proxies = config;
    co_await core_.store.flush();  // before the entry is made: what is there is ours to remove, whatever happens
  }
  auto write = [config, socket, proxies = docker::ClientProxies{wanted->http, wanted->https, wanted->none}] {
    docker::set_client_proxies(config, socket, proxies);
  };
  co_await blocking(Files::users, std::move(write));
}

asio::awaitable<void> DockerClient::remove_proxies() {
  const std::filesystem::path config = core_.state().client_proxies;
  if (config.empty()) co_return;
  auto remove = [config, socket = core_.paths.docker_socket] {
    docker::set_client_proxies(config, socket, std::nullopt);
  };
  co_await blocking(Files::users, std::move(remove));
  core_.store.edit().client_proxies.clear();
}

}  // namespace cl
