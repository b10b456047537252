#include <fmt/format.h>

#include <algorithm>

#include "docker/api.hpp"
#include "docker/client_proxies.hpp"
#include "docker/context.hpp"
#include "profiles/runtime.hpp"
#include "src/base/log.hpp"
#include "src/daemon/session.hpp"

// What Session offers Docker's clients on this host: the engine's socket, published ports, and a context.

namespace cl {
namespace {

std::string product_description(const std::string& profile) { return "colima-like, profile " + profile; }

/// Of a profile whose values were checked.
PortRules port_rules(const Profile& profile) {
  PortRules rules;
  rules.default_address = asio::ip::make_address(profile.network_address);
  if (profile.network_forward == "none") rules.forwarded = Forwarded::none;
  if (profile.network_forward == "all") rules.forwarded = Forwarded::all;
  return rules;
}

}  // namespace

// --- the engine's socket and the published ports ---------------------------------------------------------------------

/// How long clients wait: for a guest that boots as long as it takes, for one that is away briefly.
std::chrono::milliseconds Session::patience() const noexcept {
  if (vm_state_ == VmState::starting) return guest_patience;
  return client_patience;
}

/// While a start is under way it may have no link yet, and gives one up when a suspended machine has to boot instead.
asio::awaitable<std::shared_ptr<Guest>> Session::reach_guest() {
  for (;;) {
    while (!link_ && vm_state_ == VmState::starting) co_await changed_.wait();
    const auto link = link_;
    if (!link) throw Error(Errc::not_running, "the machine is not up", "colima-like start");
    try {
      co_return co_await link->guest(patience());
    } catch (const Error&) {
      if (link == link_ || vm_state_ != VmState::starting) throw;
    }
  }
}

/// A stream to an engine that can be expected to answer. While its event stream stands nothing needs to be asked;
/// otherwise (it restarts, or cannot start, and systemd alone holds its socket) the stream is tried first.
asio::awaitable<std::unique_ptr<ByteStream>> Session::open_engine() {
  constexpr auto doubt = std::chrono::seconds(3);  // a channel is open in milliseconds, under TCG in some tens
  constexpr auto try_again = std::chrono::milliseconds(50);  // while the engine has no socket
  const auto until = std::chrono::steady_clock::now() + patience();
  std::optional<Error> failure;
  while (!failure || std::chrono::steady_clock::now() < until) {
    if (failure) co_await sleep_for(try_again);
    co_await wake();
    auto reached = co_await reach_guest();
    try {
      const Runtime& runtime = runtime_of(state_.profile);
      std::string path(runtime.guest_socket);
      auto opening = reached->open_unix(std::move(path));
      auto stream = co_await with_timeout(doubt, "opening a stream to the Docker engine", std::move(opening));
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
      if (runtime.speaks_docker && (!ports_ || !ports_->engine_answers()))
        co_await with_timeout(std::max(left, try_again), "the Docker engine's answer to a ping", docker::ping(*stream));
      co_return stream;
    } catch (const Error& error) {
      failure = error;
    }
    const bool asleep = vm_state_ == VmState::suspending || vm_state_ == VmState::suspended;
    if (failure->code() == Errc::timed_out && link_ && !asleep) co_await link_->check();
  }
  throw Error(Errc::guest_failed, "the Docker engine in the guest cannot be reached",
              "see 'colima-like status', and the engine's log: colima-like ssh -- journalctl -u docker")
      .because(one_line(*failure));
}

/// Does nothing when it is open already: it outlives a suspended machine.
void Session::open_forward() {
  const Runtime& runtime = runtime_of(state_.profile);
  if (forward_ || runtime.guest_socket.empty()) return;
  auto gates = std::make_shared<GatedStream::Gates>();
  gates->settled = [this]() -> asio::awaitable<void> {
    if (ports_) co_await ports_->settled();
  };
  gates->check = [this](std::string_view body) {
    if (state_.profile.check_binds) check_binds(body, bind_rules());
  };
  auto open = [this, gates]() -> asio::awaitable<std::unique_ptr<ByteStream>> {
    auto stream = co_await open_engine();
    if (!runtime_of(state_.profile).speaks_docker) co_return stream;
    co_return std::make_unique<GatedStream>(std::move(stream), gates);
  };
  forward_ = std::make_unique<SocketForward>(executor_, host_socket(runtime, paths_), open);
}

/// Likewise.
void Session::open_ports() {
  const Runtime& runtime = runtime_of(state_.profile);
  if (ports_ || !runtime.speaks_docker) return;
  PortForward::Config config;
  config.guest = [this] { return reach_guest(); };
  config.carrier = [this]() -> asio::awaitable<std::shared_ptr<Guest>> {
    co_await wake();
    if (ports_link_ && ports_link_->connected()) co_return ports_link_->current();
    co_return co_await reach_guest();
  };
  config.engine = runtime.guest_socket;
  config.rules = port_rules(state_.profile);
  config.on_change = [this] {
    state_.port_problems = ports_->problems();
    note_state();
  };
  config.on_containers = [this](const boost::json::array& containers) {
    if (events_) events_->set_containers(containers);
  };
  open_events();
  ports_ = std::make_unique<PortForward>(executor_, std::move(config));
}

/// Of shared folders, for containers that watch files; follows the containers that ports_ is told of.
void Session::open_events() {
  ShareEvents::Config config;
  config.guest = [this] { return reach_guest(); };
  config.excluded = {home_.profiles, home_.cache};
  config.on_change = [this] {
    const ShareEvents::Report& now = events_->report();
    state_.event_folders = static_cast<int>(now.folders);
    state_.event_precision = now.precision;
    state_.event_problem = now.remedy.empty() ? now.problem : now.problem + "; " + now.remedy;
    note_state();
  };
  events_ = std::make_unique<ShareEvents>(executor_, std::move(config));
  update_events();
}

/// Also of shares that are not there at the moment: they may come back.
std::vector<SharedTree> Session::shared_trees() const {
  std::vector<SharedTree> trees;
  for (const ShareState& share : state_.shares) trees.push_back({share.location, share.mount_point});
  return trees;
}

/// As the profile and its shares are now.
void Session::update_events() {
  if (events_) events_->set_shares(state_.profile.file_events ? shared_trees() : std::vector<SharedTree>{});
}

/// The profile's rules, which may have changed, and the ports of containers that came back by themselves.
asio::awaitable<void> Session::settle_ports() {
  update_events();
  if (ports_) co_await ports_->set_rules(port_rules(state_.profile));
}

/// What lets published ports carry much without being in the others' way: the data channel, or where the driver has
/// none a second SSH session. Until it stands all goes by link_.
void Session::connect_ports() {
  if (events_) events_->resume();
  if (const auto port = machine_->data_port()) return link_->use_data_port(port->to_guest, port->from_guest);
  const auto ports = machine_->ssh_ports();
  if (!ports_link_ && ports.size() > 1) ports_link_ = link_to(ports[1], {});
}

asio::awaitable<void> Session::close_forwards() {
  if (forward_) co_await forward_->stop();
  forward_.reset();
  if (ports_) co_await ports_->stop();
  ports_.reset();
  if (events_) co_await events_->stop();
  events_.reset();
  state_.event_folders = 0;
  state_.event_precision.clear();
  state_.event_problem.clear();
  state_.port_problems.clear();
}

asio::awaitable<std::vector<PortStatus>> Session::ports() {
  if (const auto job = job_) co_await job->ended();
  if (!ports_) throw Error(Errc::not_running, "profile '" + paths_.name + "' is not running", "colima-like start");
  co_return ports_->ports();
}

// --- Docker context ------------------------------------------------------------------------------------------------

docker::Cli Session::docker_cli() const {
  docker::Cli cli;
  for (const auto& [name, value] : state_.docker_environment) cli.environment.push_back(name + "=" + value);
  return cli;
}

asio::awaitable<void> Session::switch_context(Job& job, const StartOrder& order) {
  if (!runtime_of(state_.profile).speaks_docker) co_return;
  const std::string name = docker::context_name(paths_.name);
  std::vector<std::string> environment;
  state_.docker_environment.clear();
  for (const auto& [variable, value] : order.environment) {
    environment.push_back(variable + "=" + value);
    if (variable == "HOME" || variable == "DOCKER_CONFIG") state_.docker_environment[variable] = value;
  }
  if (const auto hidden = docker::hidden_by(environment, name, paths_.docker_socket)) notes_.push_back(*hidden);

  const std::string hint = "export DOCKER_HOST=unix://" + paths_.docker_socket.string();
  job.begin("context", "switching the docker context");
  std::optional<docker::Activated> activated;
  std::string failure;
  try {
    activated = co_await docker::activate(docker_cli(), name, product_description(paths_.name), paths_.docker_socket);
  } catch (const Error& error) {
    failure = one_line(error);  // the machine works all the same: no reason to fail a start
  }
  if (activated) {
    state_.context = name;
    if (activated->previous != name) state_.previous_context = activated->previous;
    job.end("docker uses the context '" + name + "'");
  } else {
    notes_.push_back((failure.empty() ? "there is no docker command here" : failure) + "; use: " + hint);
    job.end("docker's context is not switched");
  }
  co_await settle_client_proxies();
  save_state(lock_, paths_, state_);
}

asio::awaitable<void> Session::restore_context() {
  if (state_.previous_context.empty()) co_return;
  try {
    co_await docker::restore(docker_cli(), state_.context, state_.previous_context);
    state_.previous_context.clear();
  } catch (const Error& error) {
    log::warn("the docker context could not be restored: {}", one_line(error));
  }
}

asio::awaitable<void> Session::remove_context() {
  if (state_.context.empty()) co_return;
  try {
    co_await docker::remove(docker_cli(), state_.context);
  } catch (const Error& error) {
    log::warn("the docker context could not be removed: {}", one_line(error));
  }
}

/// For builds and containers. An entry that somebody else made for our socket stays as it is.
asio::awaitable<void> Session::settle_client_proxies() {
  auto value = [this](const char* name) {
    const auto found = state_.docker_environment.find(name);
    return found == state_.docker_environment.end() ? std::string() : found->second;
  };
  const bool any = !state_.profile.proxy_http.empty() || !state_.profile.proxy_https.empty();
  if (!any || !runtime_of(state_.profile).speaks_docker) {
    remove_client_proxies();
    co_return;
  }
  if (value("DOCKER_CONFIG").empty() && value("HOME").empty()) co_return;
  try {
    const auto reached = co_await reach_guest();
    co_await find_host_address(*reached);
    const auto wanted = guest_proxies(state_.profile, host_address_);
    const std::filesystem::path config = docker::client_config(value("DOCKER_CONFIG"), value("HOME"));
    if (state_.client_proxies != config) {
      remove_client_proxies();
      if (docker::has_client_proxies(config, paths_.docker_socket)) co_return;
      state_.client_proxies = config;
      save_state(lock_, paths_, state_);  // before it is made: what is there is ours to remove, whatever happens
    }
    docker::set_client_proxies(config, paths_.docker_socket,
                               docker::ClientProxies{wanted->http, wanted->https, wanted->none});
  } catch (const Error& error) {
    notes_.push_back("builds and containers do not get the proxies: " + one_line(error));
  }
}

void Session::remove_client_proxies() {
  if (state_.client_proxies.empty()) return;
  try {
    docker::set_client_proxies(state_.client_proxies, paths_.docker_socket, std::nullopt);
    state_.client_proxies.clear();
  } catch (const Error& error) {
    log::warn("docker's config.json keeps this profile's proxies: {}", one_line(error));
  }
}

}  // namespace cl
