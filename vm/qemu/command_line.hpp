#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "vm/driver.hpp"

namespace cl {

/// What the command line depends on beside the plan.
struct QemuHost {
  std::filesystem::path binary;
  bool sandbox = false;              ///< see QemuBinary
  std::string machine_type;          ///< "pc-q35-10.0"; empty = the newest of the architecture ("q35", "virt")
  std::filesystem::path firmware{};  ///< of an EFI boot, see find_firmware()
  int memory = -1;                   ///< descriptor of the memory's file, for a plan with shares
};

/// How many SSH servers the guest offers, each on a pair of virtio-serial ports of its own.
inline constexpr int ssh_port_count = 4;
/// How many shares can come over ports of their own.
inline constexpr int share_port_count = 4;

/// The driver's files in a machine's run directory.
std::filesystem::path qmp_socket(const std::filesystem::path& run_directory);
std::vector<SshPort> ssh_ports(const std::filesystem::path& run_directory);
/// Where the server of a share listens for QEMU, and the kernel lock that it holds as long as it lives.
std::filesystem::path share_socket(const std::filesystem::path& run_directory, std::string_view tag);
std::filesystem::path share_lock(const std::filesystem::path& run_directory, std::string_view tag);
SshPort data_port(const std::filesystem::path& run_directory);
std::vector<SshPort> share_ports(const std::filesystem::path& run_directory);

/// The whole argv. Pure: the same plan gives the same words.
///
/// What the guest finds: /dev/vda the root, /dev/vdb with serial colima-like-data, ports
/// colima-like.ssh.N.in and .out and the others of vm/driver.hpp, credentials by fw_cfg, one network card behind QEMU's
/// own NAT, a virtiofs device for each share, whose server must listen already.
/// What the host gets: unix sockets in the run directory, and no listener on IP.
/// Throws Error{invalid_config} when a path or a name does not fit.
std::vector<std::string> qemu_command_line(const BootPlan& plan, const QemuHost& host);

/// `text` as a value in an option of the form a=b,c=d, where QEMU reads ",," as one comma.
std::string escape_option(std::string_view text);

}  // namespace cl
