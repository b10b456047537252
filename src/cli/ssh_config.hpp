#pragma once

#include <string>

#include "profiles/paths.hpp"

namespace cl::cli {

/// A stanza with everything that plain ssh needs to reach the profile's machine, under its host name. The guest has no
/// SSH server on a network: a ProxyCommand is the way in. Writes the file of the pinned host key beside the keys.
/// Throws Error{not_running} before the profile's first start.
std::string ssh_stanza(const Home& home, const ProfilePaths& paths);

}  // namespace cl::cli
