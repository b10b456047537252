#pragma once

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "src/base/stream.hpp"

namespace cl {

/// A ByteStream over a connected unix or TCP socket.
class SocketStream final : public ByteStream {
 public:
  using Socket = asio::generic::stream_protocol::socket;

  /// Takes a connected socket of any stream protocol. Sets close-on-exec and, for TCP, TCP_NODELAY:
  /// Nagle's algorithm and delayed ACKs together cost 40 ms and more per short request.
  explicit SocketStream(Socket socket);

  asio::awaitable<std::size_t> read_some(std::span<char> space) override;
  asio::awaitable<void> write(std::span<const char> bytes) override;
  asio::awaitable<void> shutdown_write() override;
  /// After both directions have ended this is an ordinary close. Before that the peer is told that the
  /// connection broke: TCP sends a reset and drops unsent bytes; a unix socket's peer reads what it was sent.
  void close() noexcept override;

  /// Returns when the peer has closed the whole connection (a half-close does not count), or with
  /// operation_aborted. Best effort: not every system tells. May be awaited beside read_some and write.
  asio::awaitable<void> hung_up();

 private:
  [[noreturn]] void fail(const char* doing, const error_code& ec) const;

  Socket socket_;
  bool tcp_ = false;
  bool read_ended_ = false, write_ended_ = false;
  bool closed_ = false;
};

/// Connects to a unix socket on this host. Error{io} names the path and the cause.
asio::awaitable<std::unique_ptr<ByteStream>> connect_unix(std::filesystem::path path);

/// Connects to a TCP port; `address` is numeric. Error{io}; Error{invalid_config} when it is no address.
asio::awaitable<std::unique_ptr<ByteStream>> connect_tcp(std::string address, std::uint16_t port);

}  // namespace cl
