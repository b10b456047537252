#pragma once

#include <string_view>

namespace cl {

/// The version of the libssh2 that runs, "1.11.1".
std::string_view ssh_library_version() noexcept;

}  // namespace cl
