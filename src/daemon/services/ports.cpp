#include "src/daemon/services/ports.hpp"

#include <utility>

#include "profiles/runtime.hpp"
#include "src/daemon/core.hpp"

namespace cl {
namespace {

/// The profile's values were checked when it was read.
PortRules port_rules(const Profile& profile) {
  PortRules rules;
  rules.widest_address = asio::ip::make_address(profile.network_address);
  rules.limit = static_cast<std::size_t>(profile.port_limit);
  rules.low_ports = profile.low_ports;
  if (profile.network_forward == ForwardWish::none) rules.forwarded = Forwarded::none;
  if (profile.network_forward == ForwardWish::all) rules.forwarded = Forwarded::all;
  return rules;
}

}  // namespace

asio::awaitable<void> Ports::open() {
  const Runtime& runtime = runtime_of(core_.state().profile);
  if (forward_ || !runtime.speaks_docker) co_return;
  PortForward::Config config;
  config.guest = [this] { return core_.guest.reach_for_client(); };
  config.carrier = [this] { return core_.data_path.carrier(); };
  config.engine = runtime.guest_socket;
  config.rules = port_rules(core_.state().profile);
  config.on_change = [this] { core_.describe(*this); };
  config.own = [this](const HostPort& at) { return core_.forwards.owner(at); };
  config.on_containers = [this](const boost::json::array& containers) {
    core_.file_events.set_containers(containers);
    core_.bound_files.set_containers(containers);
    core_.host_sockets.set_containers();
  };
  forward_ = std::make_unique<PortForward>(core_.executor, std::move(config));
}

asio::awaitable<void> Ports::ready() {
  if (forward_) co_await forward_->set_rules(port_rules(core_.state().profile));
}

asio::awaitable<void> Ports::close() {
  const auto forward = std::exchange(forward_, nullptr);
  if (forward) co_await forward->stop();
}

void Ports::describe(State& state) const {
  state.port_problems = forward_ ? forward_->problems() : std::vector<std::string>();
}

asio::awaitable<void> Ports::reconciled() {
  if (forward_) co_await forward_->reconciled();
}

std::optional<std::vector<PortStatus>> Ports::list() const {
  if (!forward_) return std::nullopt;
  return forward_->ports();
}

}  // namespace cl
