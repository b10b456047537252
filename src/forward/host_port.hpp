#pragma once

#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <tuple>

#include "src/base/async.hpp"

namespace cl {

enum class Protocol { tcp, udp };
std::string_view to_string(Protocol protocol) noexcept;

/// One address and port of this host.
struct HostPort {
  Protocol protocol = Protocol::tcp;
  asio::ip::address address;
  std::uint16_t port = 0;

  bool operator==(const HostPort&) const = default;
  bool operator<(const HostPort& other) const {
    return std::tie(protocol, port, address) < std::tie(other.protocol, other.port, other.address);
  }
  /// "127.0.0.1:8080/tcp", "[::]:53/udp".
  std::string str() const;
};

/// Has the acceptor listen there. Returns why it does not; it is closed then.
error_code listen_tcp(asio::ip::tcp::acceptor& acceptor, const HostPort& at);

/// The first port of this host that its users may open without a right.
int first_free_port();
/// Whether one program cannot have both: the same port on addresses of which one contains the other.
bool in_each_others_way(const HostPort& a, const HostPort& b);

}  // namespace cl
