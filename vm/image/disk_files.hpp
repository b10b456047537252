#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "src/base/async.hpp"

/// Disk images from other people: looked at before any tool opens them, and made into raw disks.
namespace cl {

/// What a raw disk tells about how it boots.
struct DiskFacts {
  bool partitioned = false;  ///< has a partition table, or at least a boot sector
  bool bios = false;         ///< has a boot loader for a PC's BIOS
  bool efi_x86_64 = false;   ///< its EFI system partition has a loader of that architecture
  bool efi_aarch64 = false;
};

/// `read` gives up to `length` bytes from `offset`: fewer at the disk's end. Reads at most some MiB. Pure.
using ReadAt = std::function<std::string(std::uint64_t offset, std::size_t length)>;
DiskFacts inspect_disk(const ReadAt& read);
DiskFacts inspect_disk(const std::filesystem::path& raw);

/// Why a qcow2 file from elsewhere may not be used, or nothing: it leads to other files of this host (CVE-2023-32684),
/// is encrypted, marked as corrupt, needs what we do not know, or is larger than `most`. `bytes` are its first. Pure.
std::optional<std::string> refuse_qcow2(std::string_view bytes, std::uint64_t most);

/// Makes `raw` of a downloaded disk: unpacks qcow2, or renames `file` when it is a raw disk already. Throws
/// Error{invalid_config} for anything else, and for what refuse_qcow2() refuses, before another program opens it;
/// Error{host_requirement} without qemu-img or space.
asio::awaitable<void> make_raw(std::filesystem::path file, std::filesystem::path raw, std::string title,
                               std::function<void(std::string_view)> say);

/// How a machine of `arch` boots this disk, "bios" or "efi". Throws Error{invalid_config} when the disk is one of
/// another architecture.
std::string boot_way(const DiskFacts& facts, std::string_view arch, std::string_view title);

}  // namespace cl
