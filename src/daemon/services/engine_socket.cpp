#include "src/daemon/services/engine_socket.hpp"

#include <utility>

#include "docker/api.hpp"
#include "docker/gated_stream.hpp"
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

asio::awaitable<std::unique_ptr<ByteStream>> EngineSocket::open_stream() {
  auto stream = co_await core_.guest.open_engine();
  if (!runtime_of(core_.state().profile).speaks_docker) co_return stream;
  auto gates = std::make_shared<GatedStream::Gates>();
  gates->settled = [this] { return core_.ports.settled(); };
  gates->taken = [this](std::string container) { return taken(std::move(container)); };
  gates->check = [this](std::string body) { return check(std::move(body)); };
  co_return std::make_unique<GatedStream>(std::move(stream), std::move(gates));
}

asio::awaitable<void> EngineSocket::check(std::string body) {
  if (core_.state().profile.check_binds) co_await check_binds(std::move(body), core_.shares.bind_rules());
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
