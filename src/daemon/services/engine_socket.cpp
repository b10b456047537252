#include "src/daemon/services/engine_socket.hpp"

#include <algorithm>
#include <boost/asio/ip/address.hpp>
#include <utility>

#include "docker/api.hpp"
#include "docker/asked_ports.hpp"
#include "docker/gated_stream.hpp"
#include "docker/loopback_ports.hpp"
#include "profiles/runtime.hpp"
#include "src/base/failure.hpp"
#include "src/base/log.hpp"
#include "src/daemon/core.hpp"
#include "src/shares/bind_check.hpp"

namespace cl {

asio::awaitable<void> EngineSocket::open() {
  const Runtime& runtime = runtime_of(core_.state().profile);
  if (forward_ || runtime.guest_socket.empty()) co_return;
  auto open = [this] { return open_stream(); };
  forward_ = std::make_unique<SocketForward>(core_.executor, host_socket(runtime, core_.paths), open);
}

asio::awaitable<void> EngineSocket::close() {
  const auto forward = std::exchange(forward_, nullptr);
  if (forward) co_await forward->stop();
}

asio::awaitable<void> EngineSocket::quiesce() {
  if (lookers_count()) co_return;
  const auto open = clients_->open;  // who ends leaves it
  for (const ClientUse* client : open)
    if (clients_->open.contains(client) && !client->works && client->end) client->end();
}

bool EngineSocket::lookers_count() const {
  const Profile& profile = core_.state().profile;
  return profile.idle_clients == IdleClients::all || !runtime_of(profile).speaks_docker;
}

std::shared_ptr<ClientUse> EngineSocket::new_client(const std::shared_ptr<Clients>& clients) {
  auto leave = [clients](const ClientUse* use) {
    const std::unique_ptr<const ClientUse> ended(use);
    clients->open.erase(use);
    if (!use->request.empty()) (use->works ? clients->worked : clients->looked) = *use;
  };
  std::shared_ptr<ClientUse> use(new ClientUse, std::move(leave));
  use->last = ClientUse::Clock::now();
  clients->open.insert(use.get());
  return use;
}

EngineSocket::Use EngineSocket::use() const {
  if (!forward_) return {};
  const ForwardCounters all = forward_->counters();
  const bool lookers = lookers_count();
  Use use{lookers ? all.connections : 0, {}, lookers ? all.last_activity : all.since};
  ClientUse::Clock::time_point latest{};
  auto look = [&](const ClientUse& client) {
    if (!client.works && !lookers) return;
    use.last_activity = std::max(use.last_activity, client.last);
    if (client.request.empty() || client.last < latest) return;
    latest = client.last;
    use.request = client.request;
  };
  for (const ClientUse& gone : {clients_->worked, clients_->looked}) look(gone);
  for (const ClientUse* client : clients_->open) {
    look(*client);
    if (!lookers && client->works) ++use.connections;
  }
  return use;
}

asio::awaitable<std::unique_ptr<ByteStream>> EngineSocket::open_stream() {
  while (!lookers_count() && is<phase::Suspending>(core_.phase())) co_await core_.changed();
  if (!lookers_count() && is<phase::Saved, phase::Paused>(core_.phase())) {
    auto open = [this] { return open_gated(); };
    auto sleeps = [this] { return is<phase::Suspending, phase::Saved, phase::Paused>(core_.phase()); };
    co_return std::make_unique<SleepingStream>(core_.executor, std::move(open), std::move(sleeps), greetings_);
  }
  co_return co_await open_gated();
}

asio::awaitable<std::unique_ptr<ByteStream>> EngineSocket::open_gated() {
  auto stream = co_await core_.guest.open_engine();
  if (!runtime_of(core_.state().profile).speaks_docker) co_return stream;
  auto gates = std::make_shared<GatedStream::Gates>();
  gates->reconciled = [this] { return core_.ports.reconciled(); };
  gates->starts = [this] { return core_.host_sockets.look_again(); };
  gates->taken = [this](std::string container) { return taken(std::move(container)); };
  gates->check = [this](std::string body) { return check(std::move(body)); };
  if (!core_.driver->traits().own_machine &&
      asio::ip::make_address(core_.state().profile.network_address).is_loopback())
    gates->rewrite = &with_ports_on_loopback;
  gates->use = new_client(clients_);
  gates->greeted = [this](std::string call, std::string answer) { greetings_[std::move(call)] = std::move(answer); };
  const auto use = gates->use;
  auto gated = std::make_unique<GatedStream>(std::move(stream), std::move(gates));
  use->end = [gated = gated.get()] { gated->close(); };  // it has the use, which is forgotten with it
  co_return gated;
}

asio::awaitable<void> EngineSocket::check(std::string body) {
  const Profile& profile = core_.state().profile;
  if (profile.check_ports && profile.network_forward != ForwardWish::none)
    check_asked_ports(body, static_cast<std::size_t>(profile.port_limit));
  auto sockets = co_await core_.host_sockets.open_for(body);
  if (!core_.state().profile.check_binds) co_return;
  BindRules rules = core_.shares.bind_rules();
  rules.relayed = std::move(sockets);
  co_await check_binds(std::move(body), std::move(rules));
}

/// Ends the container `container`, which has been started, when this host cannot open its ports, and says why.
asio::awaitable<std::string> EngineSocket::taken(std::string container) {
  if (!core_.state().profile.check_ports) co_return "";
  const std::string why = core_.ports.taken(container);
  if (why.empty()) co_return "";
  auto stop = [](Core& core, std::string of) -> asio::awaitable<void> {
    const auto engine = co_await core.guest.open_engine();
    co_await docker::stop_container(*engine, of);
  };
  if (const auto failure = co_await failure_of(stop(core_, container)))
    log::warn("the container {}, whose port is taken, was not stopped: {}", container, one_line(*failure));
  co_return why + ". 'colima-like config set check_ports false' and 'colima-like apply' let such a container run";
}

}  // namespace cl
