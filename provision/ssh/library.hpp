#pragma once

#include <string>
#include <string_view>

namespace cl::ssh {

/// The version of the libssh2 that is loaded: "1.10.0".
std::string_view library_version() noexcept;

/// Why the process of a session (session_process.hpp) could not give up its rights on this computer; empty: it can. A
/// short-lived child tries.
std::string why_not_apart();

}  // namespace cl::ssh
