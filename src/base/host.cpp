#include "src/base/host.hpp"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

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
  facts.macos_version = platform::macos_version();
  if (const char* stand_in = std::getenv("COLIMA_LIKE_VFKIT")) facts.vfkit_stand_in = stand_in;
  return facts;
}

bool at_least(const std::string& version, int major, int minor) {
  int have_major = 0, have_minor = 0;
  if (std::sscanf(version.c_str(), "%d.%d", &have_major, &have_minor) < 1) return false;
  return have_major != major ? have_major > major : have_minor >= minor;
}

}  // namespace cl
