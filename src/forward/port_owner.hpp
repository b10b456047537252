#pragma once

#include <map>
#include <string>
#include <vector>

#include "src/forward/host_port.hpp"

namespace cl {

/// Who holds a port of this host, in words: "profile 'work' of colima-like", "nginx (process 1234)".
/// Never this process itself. Best effort: nothing where the system does not say (other users' processes, macOS).
/// Reads /proc once for all.
std::map<HostPort, std::string> port_owners(const std::vector<HostPort>& ports);

}  // namespace cl
