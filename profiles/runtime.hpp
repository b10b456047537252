#pragma once

#include <array>
#include <filesystem>
#include <string_view>

#include "profiles/paths.hpp"
#include "profiles/profile.hpp"

namespace cl {

/// What runs containers in the machine; `runtime` in a profile names one.
struct Runtime {
  std::string_view name;          ///< as in the profile
  std::string_view title;         ///< for people; empty: there is none
  std::string_view guest_socket;  ///< where it listens in the guest; empty: nowhere
  std::string_view host_socket;   ///< the file in the profile's directory that leads there
  bool speaks_docker;             ///< Docker's API: docker CLI and contexts work with it
  std::string_view unit;          ///< of systemd in the guest, without which it does not answer
};
inline constexpr std::array runtimes{
    Runtime{"docker", "Docker", "/var/run/docker.sock", "docker.sock", true, "docker.service"},
    // Podman's socket at the place where every docker client looks for one.
    Runtime{"podman", "Podman", "/run/podman/podman.sock", "docker.sock", true, "podman.socket"},
    Runtime{"containerd", "containerd", "/run/containerd/containerd.sock", "containerd.sock", false,
            "containerd.service"},
    Runtime{"none", "", "", "", false, ""},
};

/// That of a profile, whose value was checked.
const Runtime& runtime_of(const Profile& profile);

/// The runtime's socket on the host; empty when it has none.
std::filesystem::path host_socket(const Runtime& runtime, const ProfilePaths& paths);

}  // namespace cl
