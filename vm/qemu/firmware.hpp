#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace cl {

/// Where EFI firmware for machines of `arch` lies: beside this QEMU (Homebrew's share/qemu), then where distributions
/// put it. Pure.
std::vector<std::filesystem::path> firmware_places(std::string_view arch, const std::filesystem::path& qemu);

/// The first of them that is there. Throws Error{host_requirement} that names the package when there is none.
std::filesystem::path find_firmware(const std::string& arch, const std::filesystem::path& qemu);

/// How one installs it on a host whose /etc/os-release reads so (empty: macOS). Pure.
std::string install_firmware_hint(std::string_view os_release, std::string_view arch);

}  // namespace cl
