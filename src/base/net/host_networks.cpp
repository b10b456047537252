#include "src/base/net/host_networks.hpp"

#include <arpa/inet.h>

#include <bit>
#include <sstream>

namespace cl {

std::vector<HostNetwork> networks_of(std::string_view route_table) {
  constexpr std::uint32_t up = 1, reject = 0x200;  // RTF_UP, RTF_REJECT
  std::vector<HostNetwork> found;
  std::istringstream lines{std::string(route_table)};
  std::string line;
  std::getline(lines, line);  // the heading
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    HostNetwork network;
    std::uint32_t gateway = 0, flags = 0, references = 0, uses = 0, metric = 0, mask = 0;
    words >> network.interface >> std::hex >> network.subnet.address >> gateway >> flags >> std::dec >> references >>
        uses >> metric >> std::hex >> mask;
    if (!words || (flags & up) == 0 || (flags & reject) != 0 || mask == 0) continue;
    network.subnet.address = ntohl(network.subnet.address);  // as the kernel has it in memory
    network.subnet.prefix = std::popcount(mask);
    found.push_back(std::move(network));
  }
  return found;
}

}  // namespace cl
