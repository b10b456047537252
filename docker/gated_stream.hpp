#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "docker/request_watch.hpp"
#include "src/base/stream.hpp"

namespace cl {

/// What one client of the engine does, for who asks whether the machine is in use.
struct ClientUse {
  using Clock = std::chrono::steady_clock;
  std::string request;        ///< the last one, "GET /containers/json"; empty: none yet
  bool works = false;         ///< one of them did more than look (only_looks())
  Clock::time_point last;     ///< when a byte was carried
  std::function<void()> end;  ///< ends the connection
};

/// A client's stream to the engine. It passes bytes on, and understands two kinds of calls:
///
/// * A call that may change published ports (a container's start, its move to another network, a new service): its
///   answer waits until `reconciled` has returned, so the client then finds the ports open. When `taken` says that a
///   port cannot be opened, the client gets that as an error (status 500, in the engine's words), and the connection
///   ends.
/// * A call that creates a container, a service or a volume: its body is given to `check` before the engine gets it.
///   What `check` throws is the client's answer (status 400), and the connection ends.
class GatedStream final : public ByteStream {
 public:
  struct Gates {
    std::function<asio::awaitable<void>()> reconciled;  ///< throws nothing but cancellation; empty = no such gate
    /// Before the engine gets a call that starts a container. Throws nothing but cancellation; empty = no such gate.
    std::function<asio::awaitable<void>()> starts = {};
    /// Ends a started container whose port another program of this host has, and returns the error text; empty when the
    /// container may run. The argument is the client's name for it. Throws only a cancellation; empty = no such gate.
    std::function<asio::awaitable<std::string>(std::string container)> taken;
    std::function<asio::awaitable<void>(std::string body)> check;  ///< throws Error; empty = no such gate
    /// What the engine gets in the place of a body that was checked; nothing: the same. Throws as `check` does; empty =
    /// no such gate.
    std::function<std::optional<std::string>(std::string_view target, const std::string& body)> rewrite = {};
    std::shared_ptr<ClientUse> use;  ///< is kept; may be null
    /// Told what the engine says to those with whom all clients begin: "HEAD /_ping", "GET /_ping", "GET /version".
    std::function<void(std::string call, std::string answer)> greeted = {};
  };

  GatedStream(std::unique_ptr<ByteStream> engine, std::shared_ptr<const Gates> gates)
      : engine_(std::move(engine)), gates_(std::move(gates)) {}

  asio::awaitable<std::size_t> read_some(std::span<char> space) override;
  asio::awaitable<void> write(std::span<const char> bytes) override;
  asio::awaitable<void> shutdown_write() override;
  void close() noexcept override { engine_->close(); }

 private:
  void look_at_head();
  void note_use(bool hijacked);
  void note_greeting(std::string_view answer);
  asio::awaitable<bool> check_body();
  bool rewrite_body();
  void answer_instead(std::string answer);

  std::unique_ptr<ByteStream> engine_;
  std::shared_ptr<const Gates> gates_;
  RequestWatch watch_;
  bool starts_ = false;       // the call whose head has come starts a container
  bool start_asked_ = false;  // the next bytes from the engine answer a call that may change ports
  std::string started_;       // the container that it starts; empty for a move to another network
  std::string greeting_;      // of which the answer is next
  bool holding_ = false;      // a create call's body is being collected
  std::string held_;
  std::string head_;     // with the gate `rewrite`: of a request, until it is known whether its body is
  std::string refusal_;  // what the client still has to receive
  bool refused_ = false;
};

}  // namespace cl
