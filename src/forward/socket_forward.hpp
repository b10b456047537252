#pragma once

#include <boost/asio/local/stream_protocol.hpp>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>

#include "src/base/net/relay.hpp"
#include "src/base/net/socket_stream.hpp"
#include "src/base/task_group.hpp"

namespace cl {

/// Counters of a forward. The times are for idle detection.
struct ForwardCounters {
  std::size_t connections = 0;  ///< open now, those still being opened included
  std::uint64_t accepted = 0;   ///< since the start
  std::uint64_t refused = 0;    ///< of these, for want of a stream
  std::uint64_t accept_errors = 0;
  std::uint64_t from_clients = 0, to_clients = 0;         ///< bytes
  std::chrono::steady_clock::time_point since{};          ///< when listening began
  std::chrono::steady_clock::time_point last_activity{};  ///< of the last byte, or of a connection's begin or end

  /// With the bytes that connections have carried so far; a client is `a`.
  ForwardCounters with(const Traffic& traffic) const;

  /// Counts one connection for as long as it lives.
  class Connection {
   public:
    explicit Connection(ForwardCounters& all) : all_(all) {
      ++all_.accepted;
      ++all_.connections;
      all_.last_activity = std::chrono::steady_clock::now();
    }
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;
    ~Connection() {
      --all_.connections;
      all_.last_activity = std::chrono::steady_clock::now();
    }

   private:
    ForwardCounters& all_;
  };
};

/// Offers a Docker engine, or something else in the guest, on a unix socket of this host. For each connection the owner
/// opens a stream to it, and bytes are copied between both. Owner's rule: await stop() before destruction.
class SocketForward {
 public:
  /// Opens one stream to the engine. Called once for each connection, any number at a time. It may take long (to wake
  /// or reconnect something): the client's bytes wait. It is cancelled when the client disconnects. What it throws is
  /// the client's error text.
  using Open = std::function<asio::awaitable<std::unique_ptr<ByteStream>>()>;

  struct Limits {
    bool http = true;            ///< who cannot be served is told so by a 503; else the connection ends
    std::size_t most = 1 << 20;  ///< connections at a time; further ones are refused
  };

  /// Listens at once. The socket gets mode 0600. A socket of ours that nobody listens on is replaced.
  /// Throws and touches nothing: Error{busy} when somebody listens there; Error{io} when the path is taken by
  /// anything else or by another user's socket, is too long for a socket, or cannot be created.
  SocketForward(asio::any_io_executor executor, std::filesystem::path path, Open open, Limits limits = {true, 1 << 20});
  SocketForward(const SocketForward&) = delete;
  SocketForward& operator=(const SocketForward&) = delete;
  /// Removes the socket file if that is still ours.
  ~SocketForward();

  /// Closes the listener, removes the socket file, ends every connection and waits for that. May be called again.
  asio::awaitable<void> stop();

  const std::filesystem::path& path() const noexcept { return path_; }
  ForwardCounters counters() const;

 private:
  using Unix = asio::local::stream_protocol;
  void stop_listening() noexcept;
  asio::awaitable<void> accept();
  asio::awaitable<void> serve(Unix::socket socket);

  asio::any_io_executor executor_;
  std::filesystem::path path_;
  Open open_;
  Limits limits_;
  Unix::acceptor acceptor_;
  std::uint64_t device_ = 0, inode_ = 0;  // of our socket file: another's at the same path is left alone
  ForwardCounters counters_;
  Traffic traffic_;
  TaskGroup tasks_;
};

}  // namespace cl
