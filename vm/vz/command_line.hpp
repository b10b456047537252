#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "vm/driver.hpp"

namespace cl {

/// The driver's files in a machine's run directory.
std::filesystem::path vfkit_socket(const std::filesystem::path& run_directory);  ///< its REST interface
std::filesystem::path vsock_socket(const std::filesystem::path& run_directory);  ///< leads to the guest's vsock port 22
std::filesystem::path seeded_initrd(const std::filesystem::path& run_directory);  ///< the image's, and credentials
/// Beside the root disk, since it lives as long: what the guest's firmware remembers.
std::filesystem::path variable_store(const std::filesystem::path& root_disk);

/// What the command line depends on beside the plan.
struct VfkitHost {
  std::filesystem::path binary;
  bool make_variable_store = false;  ///< there is none yet
};

/// The whole argv. Pure: the same plan gives the same words.
///
/// What the guest finds: /dev/vda the root, a disk with serial colima-like-data, sshd's vsock port 22 reached from the
/// host, hvc0, one network card behind Apple's NAT. With a kernel it is booted directly, and the credentials come in
/// the initrd, else by EFI firmware. Throws Error{invalid_config} for what vfkit's options cannot express: a comma in a
/// path, or in a socket's path anything that a URL would write otherwise.
std::vector<std::string> vfkit_command_line(const BootPlan& plan, const VfkitHost& host);

/// What would end vfkit with a bare "invalid virtual machine configuration" or worse: a disk that is empty, missing or
/// no raw file, a compressed kernel, a shared folder that is not there, another architecture than `host_arch`. Looks at
/// the files. Throws Error that names the culprit.
void check_vfkit_plan(const BootPlan& plan, const std::string& host_arch);

}  // namespace cl
