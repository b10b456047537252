#include "src/base/net/own_addresses.hpp"

#include <ifaddrs.h>
#include <netinet/in.h>

#include <cstring>
#include <memory>
#include <vector>

namespace cl {
namespace {

using Bytes = std::vector<unsigned char>;

/// Of an address or a mask; empty for another family.
Bytes bytes_of(const sockaddr* address) {
  if (address == nullptr) return {};
  Bytes bytes;
  if (address->sa_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in*>(address)->sin_addr;
    bytes.resize(sizeof v4);
    std::memcpy(bytes.data(), &v4, sizeof v4);
  } else if (address->sa_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr;
    bytes.resize(sizeof v6);
    std::memcpy(bytes.data(), &v6, sizeof v6);
  }
  return bytes;
}

Bytes bytes_of(const boost::asio::ip::address& address) {
  if (address.is_v4()) {
    const auto v4 = address.to_v4().to_bytes();
    return {v4.begin(), v4.end()};
  }
  const auto v6 = address.to_v6().to_bytes();
  return {v6.begin(), v6.end()};
}

}  // namespace

bool is_own_address(const boost::asio::ip::address& address) {
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0) return true;
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> owner(all, &::freeifaddrs);
  const Bytes asked = bytes_of(address);
  for (const ifaddrs* one = all; one != nullptr; one = one->ifa_next) {
    const Bytes own = bytes_of(one->ifa_addr), mask = bytes_of(one->ifa_netmask);
    if (own.size() != asked.size()) continue;
    bool same_network = mask.size() == own.size(), any_bit = false;
    for (std::size_t i = 0; i < own.size() && same_network; ++i) {
      same_network = ((own[i] ^ asked[i]) & mask[i]) == 0;
      any_bit = any_bit || mask[i] != 0;
    }
    if (own == asked || (same_network && any_bit)) return true;
  }
  return false;
}

}  // namespace cl
