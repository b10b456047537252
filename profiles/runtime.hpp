#pragma once

#include <filesystem>
#include <span>
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
};
std::span<const Runtime> runtimes();

/// That of a profile, whose value was checked.
const Runtime& runtime_of(const Profile& profile);

/// The runtime's socket on the host; empty when it has none.
std::filesystem::path host_socket(const Runtime& runtime, const ProfilePaths& paths);

}  // namespace cl
