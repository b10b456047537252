#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "src/base/async.hpp"

namespace cl {

/// The QEMU of this host for one guest architecture.
struct QemuBinary {
  std::filesystem::path path;
  int major = 0, minor = 0;
  std::string version;   ///< "10.0.2"
  bool sandbox = false;  ///< built with seccomp: takes the -sandbox option of `sandbox_option`
};

/// What QEMU may not do once it runs: obsolete system calls, gaining privileges, starting programs, and
/// changing its scheduling.
inline constexpr std::string_view sandbox_option =
    "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

/// Oldest major version that boots our guests: QEMU 7.2 panics them under `-cpu max` and TCG.
inline constexpr int least_qemu_major = 8;

/// The emulator for "x86_64" or "aarch64"; asks it for its version, which takes some 20 ms.
/// Throws Error{host_requirement} saying what to install when there is none, or an old one.
asio::awaitable<QemuBinary> find_qemu(std::string arch);

/// "QEMU emulator version 10.0.2 (Debian ...)" taken apart; false when it is something else. Pure.
bool parse_qemu_version(std::string_view output, QemuBinary& into);

/// How one installs QEMU on a host whose /etc/os-release reads so (empty: macOS). Pure.
std::string install_qemu_hint(std::string_view os_release, std::string_view arch);

}  // namespace cl
