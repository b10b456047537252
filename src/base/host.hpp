#pragma once

#include <string>

#include "src/base/byte_size.hpp"

namespace cl {

/// What checks need to know about this host; a plain value, so that tests make their own.
struct HostFacts {
  int cpus = 1;
  ByteSize memory;
  std::string os;    ///< "linux" or "macos"
  std::string arch;  ///< "x86_64" or "aarch64"
};

/// Reads them from the running system.
HostFacts host_facts();

}  // namespace cl
