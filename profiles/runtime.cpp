#include "profiles/runtime.hpp"

#include "src/base/error.hpp"

namespace cl {
const Runtime& runtime_of(const Profile& profile) {
  for (const Runtime& runtime : runtimes)
    if (runtime.name == profile.runtime) return runtime;
  throw Error(Errc::internal, "there is no runtime '" + profile.runtime + "'");
}

std::filesystem::path host_socket(const Runtime& runtime, const ProfilePaths& paths) {
  return runtime.host_socket.empty() ? std::filesystem::path() : paths.directory / runtime.host_socket;
}

}  // namespace cl
