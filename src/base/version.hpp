#pragma once

#include <string_view>

namespace cl {

/// The version of this program, "0.1.0". The daemon and the command line tell it to each other, since either may be
/// older than the other.
std::string_view program_version() noexcept;

/// The commit it was built from, in full, with a '+' when its sources differed from that; empty where the build was not
/// told.
std::string_view program_commit() noexcept;

}  // namespace cl
