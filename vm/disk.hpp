#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "src/base/async.hpp"
#include "src/base/byte_size.hpp"

/// The two disks of a machine: the root disk, a disposable qcow2 overlay on an image, and the data disk, a
/// sparse raw file that is never formatted and never overwritten on a guess.
namespace cl {

/// Creates the overlay `path` of `size` on the raw image `root_image` with qemu-img: under a temporary name, then
/// renamed, so that a crash leaves the old file or the new one. Replaces an overlay that is there.
/// Throws Error{host_requirement} without qemu-img or without space, Error{invalid_config} when `size` is less
/// than the image's.
asio::awaitable<void> create_overlay(std::filesystem::path root_image, std::filesystem::path path, ByteSize size);

/// Makes `path` a raw disk of `size` that begins as `root_image`, for drivers that know no overlays: a clone that
/// shares the image's blocks where the file system can (APFS, btrfs, XFS), else a copy without its holes. Under a
/// temporary name, then renamed. Errors as create_overlay().
void create_raw_root(const std::filesystem::path& root_image, const std::filesystem::path& path, ByteSize size);

/// What the header of a qcow2 file says. Format: QEMU's docs/interop/qcow2.rst.
struct Qcow2Header {
  std::uint64_t size = 0;  ///< as the guest sees it, in bytes
  std::string backing_file, backing_format;
  bool corrupt = false;             ///< QEMU marked it so
  bool external_data_file = false;  ///< the content lies in yet another file
};

/// Reads the first bytes of a file; nothing when it is no qcow2 or is damaged there. Pure.
std::optional<Qcow2Header> parse_qcow2_header(std::string_view first_bytes);

/// Whether a root disk can be booted as it is.
enum class OverlayState {
  missing,
  usable,      ///< an overlay on exactly this image
  other_image  ///< a sound overlay, but on another image: it has to be made anew
};

/// Looks at the header only, which takes microseconds and no qemu-img. The caller keeps the digest of the image
/// that an overlay was made on: an image rebuilt at the same path is another image.
/// Throws Error{io} for a file that is no overlay of ours (another format, another file to read from).
OverlayState check_overlay(const std::filesystem::path& path, const std::filesystem::path& root_image);

/// What a data disk's file is.
enum class DataDiskKind {
  missing,
  ours,      ///< carries our header; `formatted` tells whether the guest has made its file system
  unmarked,  ///< no header, but a file system with `uuid`: the guest was stopped between mke2fs and the header
  foreign    ///< anything else, also a file of zeros: it is not ours to use
};

struct DataDisk {
  DataDiskKind kind = DataDiskKind::missing;
  std::string owner;       ///< from the header, or the file system's UUID when unmarked
  bool formatted = false;  ///< has an ext4 superblock
  std::string uuid;        ///< of the ext4, lower case
  ByteSize size, allocated;
};

/// Reads the first 4 KiB of a data disk. Bytes 0..1023 hold our header, "colima-like data disk v1\nowner=UUID\n" and
/// NULs; ext4 leaves them free and has its superblock at 1024.
DataDisk inspect_data_disk(const std::filesystem::path& path);

/// Whether `path` is what is left of `owner`'s new data disk when the guest was killed while it made the file system:
/// mke2fs clears the first 4 KiB, our header with them, and writes the superblock there last. So those are zeros, and
/// behind them are group descriptors with checksums over the owner's UUID, or nothing at all in the whole file. Of any
/// other file, and of a link, nobody can say that it holds no data.
bool is_half_formatted(const std::filesystem::path& path, std::string_view owner);

/// Makes sure that `path` is the data disk of `owner` (a lower-case UUID), with at least `size`: creates it when it is
/// missing, grows it when it is smaller, and changes nothing else.
/// Throws Error{io} for a file that is not that owner's, Error{invalid_config} when the file is larger than
/// `size` (shrinking would cut data off), Error{host_requirement} without space. A crash leaves no half-made disk.
void ensure_data_disk(const std::filesystem::path& path, std::string_view owner, ByteSize size);

/// Space that must be free to begin with; both disks are sparse and grow as the guest writes.
inline constexpr ByteSize least_free_space = ByteSize::gib(1);

}  // namespace cl
