#pragma once

#include <memory>
#include <set>
#include <string>

#include "docker/gated_stream.hpp"
#include "docker/sleeping_stream.hpp"
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
  /// Where who only looks does not count, these connections end: on them the next call would wait for a machine that
  /// nobody wakes. A new connection is answered.
  asio::awaitable<void> quiesce() override;
  asio::awaitable<void> close() override;

  bool is_open() const noexcept { return forward_ != nullptr; }
  /// What clients do who count as users of the machine, as the profile has it.
  struct Use {
    std::size_t connections = 0;                            ///< open now
    std::string request;                                    ///< the last one; empty: not known
    std::chrono::steady_clock::time_point last_activity{};  ///< the opening of the socket counts
  };
  Use use() const;

 private:
  /// Clients of a Docker engine. Those of others cannot be told apart.
  struct Clients {
    std::set<const ClientUse*> open;
    ClientUse worked, looked;  ///< who has left last, of each kind
  };
  static std::shared_ptr<ClientUse> new_client(const std::shared_ptr<Clients>& clients);
  bool lookers_count() const;
  asio::awaitable<std::unique_ptr<ByteStream>> open_stream();
  asio::awaitable<std::unique_ptr<ByteStream>> open_gated();
  asio::awaitable<void> check(std::string body);
  asio::awaitable<std::string> taken(std::string container);

  Core& core_;
  std::unique_ptr<SocketForward> forward_;
  std::shared_ptr<Clients> clients_ = std::make_shared<Clients>();
  SleepingStream::Greetings greetings_;
};

}  // namespace cl
