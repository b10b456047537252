#include "src/forward/host_port.hpp"

#include <fcntl.h>

#include <boost/asio/ip/v6_only.hpp>
#include <fstream>

namespace cl {

std::string_view to_string(Protocol protocol) noexcept { return protocol == Protocol::udp ? "udp" : "tcp"; }

std::string HostPort::str() const {
  const std::string host = address.is_v6() ? "[" + address.to_string() + "]" : address.to_string();
  return host + ":" + std::to_string(port) + "/" + std::string(to_string(protocol));
}

error_code listen_tcp(asio::ip::tcp::acceptor& acceptor, const HostPort& at) {
  constexpr int backlog = 1024;
  const asio::ip::tcp::endpoint endpoint(at.address, at.port);
  auto listen = [&]() -> error_code {
    error_code ec;
    if (acceptor.open(endpoint.protocol(), ec); ec) return ec;
    ::fcntl(acceptor.native_handle(), F_SETFD, FD_CLOEXEC);
    // Old connections in TIME_WAIT do not block the port.
    if (acceptor.set_option(asio::socket_base::reuse_address(true), ec); ec) return ec;
    if (endpoint.protocol() == asio::ip::tcp::v6())
      if (acceptor.set_option(asio::ip::v6_only(true), ec); ec) return ec;
    if (acceptor.bind(endpoint, ec); ec) return ec;
    acceptor.listen(backlog, ec);
    return ec;
  };
  const error_code failure = listen();
  error_code ignored;
  if (failure) acceptor.close(ignored);
  return failure;
}

int first_free_port() {
  int first = 1024;
  std::ifstream("/proc/sys/net/ipv4/ip_unprivileged_port_start") >> first;
  return first;
}

bool in_each_others_way(const HostPort& a, const HostPort& b) {
  if (a.protocol != b.protocol || a.port != b.port || a.address.is_v4() != b.address.is_v4()) return false;
  return a.address == b.address || a.address.is_unspecified() || b.address.is_unspecified();
}

}  // namespace cl
