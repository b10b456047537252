#pragma once

#include <string_view>

namespace cl {

/// The version of this program, "0.1.0". The daemon and the command line tell it to each other, since either may be
/// older than the other.
std::string_view program_version() noexcept;

}  // namespace cl
