#include "profiles/runtime.hpp"

#include <array>

#include "src/base/error.hpp"

namespace cl {
namespace {

constexpr std::array table{
    Runtime{"docker", "Docker", "/var/run/docker.sock", "docker.sock", true},
    // Podman's socket at the place where every docker client looks for one.
    Runtime{"podman", "Podman", "/run/podman/podman.sock", "docker.sock", true},
    Runtime{"containerd", "containerd", "/run/containerd/containerd.sock", "containerd.sock", false},
    Runtime{"none", "", "", "", false},
};

}  // namespace

std::span<const Runtime> runtimes() { return table; }

const Runtime& runtime_of(const Profile& profile) {
  for (const Runtime& runtime : table)
    if (runtime.name == profile.runtime) return runtime;
  throw Error(Errc::internal, "there is no runtime '" + profile.runtime + "'");
}

std::filesystem::path host_socket(const Runtime& runtime, const ProfilePaths& paths) {
  return runtime.host_socket.empty() ? std::filesystem::path() : paths.directory / runtime.host_socket;
}

}  // namespace cl
