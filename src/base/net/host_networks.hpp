#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "src/base/net/subnet.hpp"

namespace cl {

/// A network that this computer reaches by one of its interfaces.
struct HostNetwork {
  Subnet subnet;
  std::string interface;
  bool operator==(const HostNetwork&) const = default;
};

/// All of them but the default route, IPv4 alone: on Linux by the kernel's routes (host_networks_linux.cpp), on macOS
/// by the interfaces' addresses (host_networks_darwin.cpp). Empty when the system does not tell. Tests give a table of
/// their own in the file $COLIMA_LIKE_ROUTES.
std::vector<HostNetwork> host_networks();

/// Of a table as /proc/net/route is. Pure.
std::vector<HostNetwork> networks_of(std::string_view route_table);

}  // namespace cl
