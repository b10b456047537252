#include "src/forward/host_port.hpp"

#include <fstream>

namespace cl {

std::string_view to_string(Protocol protocol) noexcept { return protocol == Protocol::udp ? "udp" : "tcp"; }

std::string HostPort::str() const {
  const std::string host = address.is_v6() ? "[" + address.to_string() + "]" : address.to_string();
  return host + ":" + std::to_string(port) + "/" + std::string(to_string(protocol));
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
