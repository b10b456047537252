#include <cstdlib>

#include "src/base/file.hpp"
#include "src/base/net/host_networks.hpp"

namespace cl {

std::vector<HostNetwork> host_networks() {
  const char* own = std::getenv("COLIMA_LIKE_ROUTES");
  return networks_of(read_file_if_exists(own != nullptr ? own : "/proc/net/route").value_or(""));
}

}  // namespace cl
