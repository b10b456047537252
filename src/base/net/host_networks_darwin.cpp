#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>

#include <bit>
#include <cstdlib>

#include "src/base/file.hpp"
#include "src/base/net/host_networks.hpp"

namespace cl {
namespace {

std::uint32_t number_of(const sockaddr* address) {
  return ntohl(reinterpret_cast<const sockaddr_in*>(address)->sin_addr.s_addr);
}

}  // namespace

std::vector<HostNetwork> host_networks() {
  if (const char* own = std::getenv("COLIMA_LIKE_ROUTES"); own != nullptr)
    return networks_of(read_file_if_exists(own).value_or(""));
  std::vector<HostNetwork> found;
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0) return found;
  for (const ifaddrs* one = all; one != nullptr; one = one->ifa_next) {
    if (one->ifa_addr == nullptr || one->ifa_netmask == nullptr || one->ifa_addr->sa_family != AF_INET) continue;
    if ((one->ifa_flags & IFF_UP) == 0 || (one->ifa_flags & IFF_LOOPBACK) != 0) continue;
    const std::uint32_t mask = number_of(one->ifa_netmask);
    if (mask == 0) continue;
    found.push_back({{number_of(one->ifa_addr) & mask, std::popcount(mask)}, one->ifa_name});
  }
  ::freeifaddrs(all);
  return found;
}

}  // namespace cl
