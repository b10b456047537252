#pragma once

#include <sys/socket.h>

#include <optional>
#include <string>
#include <string_view>

namespace cl::agent {

/// Of a socket: a path, or an address and a port.
struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  int family() const { return storage.ss_family; }
};

/// Nothing, with why, when there can be no such socket.
std::optional<Address> read_unix(std::string_view path, std::string& why);
/// "ADDRESS PORT"; nothing is looked up.
std::optional<Address> read_ip(std::string_view text, std::string& why);
/// As read_ip() reads it; an IPv4 address in IPv6 as IPv4. "" for another family.
std::string written(const Address& address);

}  // namespace cl::agent
