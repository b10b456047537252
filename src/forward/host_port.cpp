#include "src/forward/host_port.hpp"

namespace cl {

std::string_view to_string(Protocol protocol) noexcept { return protocol == Protocol::udp ? "udp" : "tcp"; }

std::string HostPort::str() const {
  const std::string host = address.is_v6() ? "[" + address.to_string() + "]" : address.to_string();
  return host + ":" + std::to_string(port) + "/" + std::string(to_string(protocol));
}

}  // namespace cl
