#pragma once

#include <filesystem>

namespace cl::cli {

/// Where programs look that know no Docker context and no DOCKER_HOST.
inline constexpr const char* usual_socket = "/var/run/docker.sock";

/// Makes `at` a link to `socket`, in one step where there was a link before. A link of others is kept beside it, as
/// "docker.sock.before-colima-like". Throws Error{busy}, and changes nothing, when anything but a link is there (an
/// engine of this host); Error{host_requirement} when this user may not; Error{io}.
void link_socket(const std::filesystem::path& at, const std::filesystem::path& socket,
                 const std::filesystem::path& profiles);

/// Takes a link to any of `profiles` away and puts back what it had replaced. False when there is no such link: another
/// one is left alone. Throws as link_socket() does.
bool unlink_socket(const std::filesystem::path& at, const std::filesystem::path& profiles);

}  // namespace cl::cli
