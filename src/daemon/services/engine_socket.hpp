#pragma once

#include <memory>
#include <string>

#include "src/daemon/service.hpp"
#include "src/forward/socket_forward.hpp"

namespace cl {

struct Core;

/// The engine's socket on this host. It is there before the machine is, and while that is suspended: whoever connects
/// wakes it.
class EngineSocket : public Service {
 public:
  explicit EngineSocket(Core& core) : core_(core) {}

  std::string_view name() const noexcept override { return "the engine's socket"; }
  /// Throws Error{io} or {busy} when something foreign is at its path.
  asio::awaitable<void> open() override;
  asio::awaitable<void> close() override;

  bool is_open() const noexcept { return forward_ != nullptr; }
  /// Of clients; nothing when it is closed.
  ForwardCounters counters() const { return forward_ ? forward_->counters() : ForwardCounters{}; }

 private:
  asio::awaitable<std::unique_ptr<ByteStream>> open_stream();
  asio::awaitable<void> check(std::string body);
  asio::awaitable<std::string> taken(std::string container);

  Core& core_;
  std::unique_ptr<SocketForward> forward_;
};

}  // namespace cl
