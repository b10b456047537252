#include "src/base/host.hpp"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>

#include "src/base/platform.hpp"

namespace cl {

HostFacts host_facts() {
  utsname names{};
  ::uname(&names);
  HostFacts facts;
  facts.cpus = std::max(1, static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN)));
  facts.memory = ByteSize::bytes(platform::memory_bytes());
  facts.os = std::string_view(names.sysname) == "Darwin" ? "macos" : "linux";
  facts.arch = std::string_view(names.machine) == "arm64" ? "aarch64" : names.machine;
  return facts;
}

}  // namespace cl
