#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <string>

#include "src/base/net/relay.hpp"
#include "src/base/task_group.hpp"
#include "src/forward/host_port.hpp"
#include "src/forward/socket_forward.hpp"

namespace cl {

/// Offers something in the guest on a TCP port of this host, as SocketForward does on a unix socket. Owner's rule:
/// await stop() before destruction.
class TcpForward {
 public:
  /// Listens at once, or sets `ec` and does nothing. A connection beyond `most`, and one for which `open` throws, is
  /// reset: the closest that an accepted connection can come to a refusal.
  TcpForward(const asio::any_io_executor& executor, HostPort at, SocketForward::Open open, std::size_t most,
             error_code& ec);
  TcpForward(const TcpForward&) = delete;
  TcpForward& operator=(const TcpForward&) = delete;

  /// Closes the port, ends every connection and waits for that. May be called again.
  asio::awaitable<void> stop();

  ForwardCounters counters() const;

 private:
  using Tcp = asio::ip::tcp;
  asio::awaitable<void> accept();
  asio::awaitable<void> serve(Tcp::socket socket);

  HostPort at_;
  std::string name_;
  SocketForward::Open open_;
  std::size_t most_;
  Tcp::acceptor acceptor_;
  ForwardCounters counters_;
  Traffic traffic_;
  TaskGroup tasks_;
};

}  // namespace cl
