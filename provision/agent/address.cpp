#include "provision/agent/address.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <cstddef>
#include <cstring>

#include "provision/channel/protocol.hpp"

namespace cl::agent {

std::optional<Address> read_unix(std::string_view path, std::string& why) {
  Address to;
  auto& address = reinterpret_cast<sockaddr_un&>(to.storage);
  if (path.size() >= sizeof address.sun_path) {
    why = "the path is too long";
    return std::nullopt;
  }
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  to.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
  return to;
}

std::optional<Address> read_ip(std::string_view text, std::string& why) {
  Address to;
  const std::string address(take_word(text));
  auto& v4 = reinterpret_cast<sockaddr_in&>(to.storage);
  auto& v6 = reinterpret_cast<sockaddr_in6&>(to.storage);
  std::uint16_t port = 0;
  if (!read_number(text, port)) {
    why = "that is no port";
  } else if (::inet_pton(AF_INET, address.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    to.size = sizeof v4;
  } else if (::inet_pton(AF_INET6, address.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    to.size = sizeof v6;
  } else {
    why = address + " is no address";
  }
  if (!why.empty()) return std::nullopt;
  return to;
}

std::string written(const Address& address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address.family() == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address.storage);
    ::inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
    return std::string(text) + " " + std::to_string(ntohs(v4.sin_port));
  }
  if (address.family() != AF_INET6) return "";
  const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address.storage);
  if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
    ::inet_ntop(AF_INET, &v6.sin6_addr.s6_addr[12], text, sizeof text);
  } else {
    ::inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
  }
  return std::string(text) + " " + std::to_string(ntohs(v6.sin6_port));
}

}  // namespace cl::agent
