#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "src/base/async.hpp"

namespace cl {

/// The vfkit of this host.
struct VfkitBinary {
  std::filesystem::path path;
  int major = 0, minor = 0, patch = 0;
  std::string version;  ///< "0.6.4"
};

/// $COLIMA_LIKE_VFKIT, which tests set, or vfkit of PATH; asks it for its version. Throws Error{host_requirement} when
/// there is none, or one before 0.6.2, saying what to install.
asio::awaitable<VfkitBinary> find_vfkit();

/// "vfkit version: v0.6.4" taken apart; false when it is something else. Pure.
bool parse_vfkit_version(std::string_view output, VfkitBinary& into);

}  // namespace cl
