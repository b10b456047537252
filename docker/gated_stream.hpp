#pragma once

#include <functional>
#include <memory>

#include "docker/request_watch.hpp"
#include "src/base/stream.hpp"

namespace cl {

/// A client's stream to the engine on which two kinds of calls, and only those, are more than bytes:
/// * the answer to a call that may change published ports (a container's start, its move to another network, a
/// service's
///   making) is handed on only when `settled` has returned, so that a client who has it finds the published ports open;
///   when `taken` says that one cannot be, that is the client's answer instead (status 500, as an engine says it), and
///   the connection ends;
/// * the body of a call that creates a container, a service or a volume is shown to `check` before the engine gets it;
///   what that throws is the client's answer instead (status 400), and the connection ends.
class GatedStream final : public ByteStream {
 public:
  struct Gates {
    std::function<asio::awaitable<void>()> settled;  ///< throws nothing but cancellation; empty = no such gate
    /// Ends a container that was started and whose port another program of this host has, and says so; empty when it
    /// may go on. The argument is what the client named it by. Throws nothing but cancellation; empty = no such gate.
    std::function<asio::awaitable<std::string>(std::string container)> taken;
    std::function<asio::awaitable<void>(std::string body)> check;  ///< throws Error; empty = no such gate
  };

  GatedStream(std::unique_ptr<ByteStream> engine, std::shared_ptr<const Gates> gates)
      : engine_(std::move(engine)), gates_(std::move(gates)) {}

  asio::awaitable<std::size_t> read_some(std::span<char> space) override;
  asio::awaitable<void> write(std::span<const char> bytes) override;
  asio::awaitable<void> shutdown_write() override;
  void close() noexcept override { engine_->close(); }

 private:
  void look_at_head();
  asio::awaitable<bool> check_body();
  void answer_instead(std::string answer);

  std::unique_ptr<ByteStream> engine_;
  std::shared_ptr<const Gates> gates_;
  RequestWatch watch_;
  bool start_asked_ = false;  // the next bytes from the engine answer a call after which ports may be others
  std::string started_;       // the container that it starts; empty for a move to another network
  bool holding_ = false;      // a create call's body is being collected
  std::string held_;
  std::string refusal_;  // what the client still has to be told
  bool refused_ = false;
};

}  // namespace cl
