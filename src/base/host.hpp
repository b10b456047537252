#pragma once

#include <string>

#include "src/base/byte_size.hpp"

namespace cl {

/// What checks need to know about this host; a plain value, so that tests make their own.
struct HostFacts {
  int cpus = 1;
  ByteSize memory;
  std::string os;                   ///< "linux" or "macos"
  std::string arch;                 ///< "x86_64" or "aarch64"
  std::string macos_version = {};   ///< "15.6"; empty on Linux
  std::string vfkit_stand_in = {};  ///< $COLIMA_LIKE_VFKIT: runs in place of vfkit, and is no business of macOS
};

/// Whether a version such as "15.6" is `major`.`minor` or later; an empty one is not.
bool at_least(const std::string& version, int major, int minor = 0);

/// Reads them from the running system.
HostFacts host_facts();

}  // namespace cl
