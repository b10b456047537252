#pragma once

#include <string>

namespace cl::ssh {

/// The library that speaks SSH, as it is loaded: "libssh2 1.10.0".
std::string library_version();

/// Why the process of a session (session_process.hpp) could not give up its rights on this computer; empty: it can. A
/// short-lived child tries.
std::string why_not_apart();

}  // namespace cl::ssh
