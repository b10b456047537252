#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <memory>
#include <string>
#include <utility>

#include "docker/port_forward.hpp"

namespace cl {

/// One port that is wanted: open on this host, or why it is not.
struct PortForward::Entry {
  Entry(PublishedPort published, const asio::any_io_executor& executor)
      : port(std::move(published)), tcp(executor), asked(executor) {}
  PublishedPort port;
  asio::ip::tcp::acceptor tcp;
  std::shared_ptr<UdpForward::Port> udp;
  std::shared_ptr<Traffic> traffic = std::make_shared<Traffic>();
  std::size_t connections = 0;
  error_code failure;  ///< is tried again
  std::string owner;
  std::string refused, allowed_by;  ///< by the rules: why, and what to do about it
  bool removed = false;
  bool answered = false;  ///< the program has accepted a connection since the port was opened or its container started
  bool asking = false;    ///< one connection tries for all
  Notifier asked;
  std::chrono::steady_clock::time_point opened = std::chrono::steady_clock::now();
  std::int64_t since = std::time(nullptr);

  bool served() const { return !failure && refused.empty(); }
  /// Puts into words what `port.refused` says.
  void refuse(const PortRules& rules);
  std::string problem() const;
  std::string remedy() const;
};

}  // namespace cl
