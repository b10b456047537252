#include "vm/disk.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>

#include "src/base/child.hpp"
#include "src/base/file.hpp"
#include "src/base/sparse.hpp"
#include "src/base/unique_fd.hpp"

namespace cl {
namespace {

constexpr std::string_view header_title = "colima-like data disk v1\n";
constexpr std::size_t header_size = 1024;

std::uint64_t big_endian(std::string_view bytes, std::size_t at, std::size_t length) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < length; ++i) value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
  return value;
}

/// At most `length` bytes from the start; nothing when there is no such file.
std::optional<std::string> first_bytes(const fs::path& path, std::size_t length) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));  // a FIFO would block
  if (!fd) {
    const int saved = errno;
    if (saved == ENOENT) return std::nullopt;
    throw file_error("open", path, saved);
  }
  std::string bytes(length, '\0');
  std::size_t have = 0;
  while (have < length) {
    const ssize_t got = ::pread(fd.get(), bytes.data() + have, length - have, static_cast<off_t>(have));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw file_error("read", path, errno);
    if (got == 0) break;
    have += static_cast<std::size_t>(got);
  }
  bytes.resize(have);
  return bytes;
}

std::uint64_t size_of(const fs::path& path) {
  struct stat facts{};
  if (::stat(path.c_str(), &facts) != 0) throw file_error("look at", path, errno);
  return static_cast<std::uint64_t>(facts.st_size);
}

void require_space(const fs::path& directory, std::string_view what) {
  const std::uint64_t free = free_space(directory);
  if (free >= least_free_space.count()) return;
  throw Error(Errc::host_requirement, fmt::format("no space left for {}", what),
              "free some space there, or set COLIMA_LIKE_HOME to a larger file system")
      .because(fmt::format("{} has {} free, and {} is needed to begin with", directory.string(),
                           ByteSize::bytes(free).str(), least_free_space.str()));
}

bool is_uuid(std::string_view text) {
  if (text.size() != 36) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    const char c = text[i];
    if (dash ? c != '-' : !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
  }
  return true;
}

std::string data_disk_header(std::string_view owner) {
  std::string header = fmt::format("{}owner={}\n", header_title, owner);
  header.resize(header_size, '\0');
  return header;
}

/// The owner in a complete header, or nothing.
std::optional<std::string> owner_in(std::string_view header) {
  constexpr std::string_view key = "owner=";
  if (header.size() != header_size || !header.starts_with(header_title)) return std::nullopt;
  std::string_view rest = header.substr(header_title.size());
  if (!rest.starts_with(key)) return std::nullopt;
  std::string owner(rest.substr(key.size(), 36));
  if (!is_uuid(owner) || header != data_disk_header(owner)) return std::nullopt;
  return owner;
}

std::string uuid_text(std::string_view bytes) {
  std::string text;
  for (std::size_t i = 0; i < 16; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += fmt::format("{:02x}", static_cast<unsigned char>(bytes[i]));
  }
  return text;
}

bool all_zero(std::string_view bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](char c) { return c == '\0'; });
}

std::string uuid_bytes(std::string_view text) {
  std::string bytes;
  for (std::size_t i = 0; i < text.size(); i += 2) {
    if (text[i] == '-') ++i;
    unsigned char byte = 0;
    std::from_chars(text.data() + i, text.data() + i + 2, byte, 16);
    bytes += static_cast<char>(byte);
  }
  return bytes;
}

/// CRC-32C as ext4 has it: begins with all ones, and is not inverted at the end.
std::uint32_t crc32c(std::string_view bytes) {
  std::uint32_t sum = ~0U;
  for (const char byte : bytes) {
    sum ^= static_cast<unsigned char>(byte);
    for (int bit = 0; bit < 8; ++bit) sum = (sum & 1) != 0 ? sum >> 1 ^ 0x82f63b78 : sum >> 1;
  }
  return sum;
}

/// Whether the second block of a disk has the group descriptors of an ext4 with the owner's UUID, of 4 KiB blocks and
/// with the features metadata_csum and 64bit, which the guest makes. Format: the kernel's
/// Documentation/filesystems/ext4/group_descr.rst.
bool are_descriptors(std::string_view block, std::uint64_t disk_size, std::string_view owner) {
  constexpr std::size_t length = 64, checksum_at = 0x1e;
  constexpr std::uint64_t group_size = 128 << 20;
  const std::size_t groups = std::clamp<std::uint64_t>(disk_size / group_size, 1, block.size() / length);
  const std::string uuid = uuid_bytes(owner);
  for (std::size_t group = 0; group < groups; ++group) {
    std::string descriptor(block.substr(group * length, length));
    const std::string stored = descriptor.substr(checksum_at, 2);
    descriptor.replace(checksum_at, 2, 2, '\0');
    const std::string number{static_cast<char>(group), '\0', '\0', '\0'};  // little endian, as all of it
    const std::uint32_t sum = crc32c(uuid + number + descriptor);
    if (stored != std::string{static_cast<char>(sum), static_cast<char>(sum >> 8)}) return false;
  }
  return true;
}

/// Whether a file holds zeros and nothing else. Of one with much in it nobody waits for the answer: false.
bool is_blank(const fs::path& path) {
  constexpr std::uint64_t most = 16 << 20;
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) throw file_error("open", path, errno);
  const std::vector<Extent> extents = data_extents(fd.get());
  std::uint64_t length = 0;
  for (const Extent& extent : extents) length += extent.length;
  if (length > most) return false;
  for (const Extent& extent : extents) {
    std::string bytes(extent.length, 'x');
    if (::pread(fd.get(), bytes.data(), bytes.size(), static_cast<off_t>(extent.offset)) < 0)
      throw file_error("read", path, errno);
    if (!all_zero(bytes)) return false;  // also where less was read
  }
  return true;
}

/// A temporary name beside `path` whose file is removed unless it was renamed.
class Draft {
 public:
  explicit Draft(const fs::path& path) : path_(path), name_(path.string() + ".new") { ::unlink(name_.c_str()); }
  ~Draft() { ::unlink(name_.c_str()); }
  Draft(const Draft&) = delete;
  Draft& operator=(const Draft&) = delete;
  const std::string& name() const { return name_; }
  void keep() {
    UniqueFd fd(::open(name_.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd || ::fsync(fd.get()) != 0) throw file_error("sync", name_, errno);
    if (::rename(name_.c_str(), path_.c_str()) != 0) throw file_error("create", path_, errno);
    sync_directory(path_.parent_path());
  }

 private:
  fs::path path_;
  std::string name_;
};

Error not_this_owners(const fs::path& path, std::string_view why) {
  return Error(Errc::io, path.string() + " is not the data disk of this profile",
               "move that file away, or put the right one there; it was not touched")
      .because(why);
}

void require_image_fits(ByteSize size, std::uint64_t image_size) {
  if (size.count() >= image_size) return;
  throw Error(
      Errc::invalid_config,
      fmt::format("a root disk of {} is smaller than its image of {}", size.str(), ByteSize::bytes(image_size).str()),
      "give it at least the image's size");
}

void create_data_disk(const fs::path& path, std::string_view owner, ByteSize size) {
  require_space(path.parent_path(), "the data disk");
  Draft draft(path);
  {
    UniqueFd fd(::open(draft.name().c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!fd) throw file_error("create", draft.name(), errno);
    const std::string header = data_disk_header(owner);
    if (::pwrite(fd.get(), header.data(), header.size(), 0) != static_cast<ssize_t>(header.size()))
      throw file_error("write", draft.name(), errno);
    if (::ftruncate(fd.get(), static_cast<off_t>(size.count())) != 0)
      throw file_error("make room for " + size.str() + " in", draft.name(), errno);
  }
  draft.keep();
}

}  // namespace

asio::awaitable<void> create_overlay(fs::path root_image, fs::path path, ByteSize size) {
  const std::uint64_t image_size = size_of(root_image);
  require_image_fits(size, image_size);
  require_space(path.parent_path(), "the root disk");
  if (!find_program("qemu-img"))
    throw Error(Errc::host_requirement, "qemu-img is not installed",
                "install it with 'apt-get install qemu-utils' (macOS: 'brew install qemu')");
  Draft draft(path);
  Command command;
  command.argv = {"qemu-img",
                  "create",
                  "-q",
                  "-f",
                  "qcow2",
                  "-F",
                  "raw",
                  "-b",
                  absolute_path(root_image).string(),
                  draft.name(),
                  std::to_string(size.count())};
  const Finished finished = co_await run(command, "", std::chrono::seconds(60));
  if (!finished.status.ok())
    throw Error(Errc::io, "cannot create the root disk " + path.string())
        .because(fmt::format("qemu-img: {}: {}", finished.status.str(), last_lines(finished.errors, 3)));
  if (::chmod(draft.name().c_str(), 0600) != 0) throw file_error("set the mode of", draft.name(), errno);
  draft.keep();
}

void create_raw_root(const fs::path& root_image, const fs::path& path, ByteSize size) {
  const std::uint64_t image_size = size_of(root_image);
  require_image_fits(size, image_size);
  require_space(path.parent_path(), "the root disk");
  Draft draft(path);
  copy_sparse(root_image, draft.name());
  if (::truncate(draft.name().c_str(), static_cast<off_t>(size.count())) != 0)
    throw file_error("make room for " + size.str() + " in", draft.name(), errno);
  draft.keep();
}

std::optional<Qcow2Header> parse_qcow2_header(std::string_view bytes) {
  constexpr std::size_t version2_length = 72;
  constexpr std::uint64_t backing_format_extension = 0xe2792aca;
  if (bytes.size() < version2_length || !bytes.starts_with(std::string_view("QFI\xfb", 4))) return std::nullopt;
  const std::uint64_t version = big_endian(bytes, 4, 4);
  if (version != 2 && version != 3) return std::nullopt;

  Qcow2Header header;
  header.size = big_endian(bytes, 24, 8);
  const std::uint64_t name_at = big_endian(bytes, 8, 8), name_length = big_endian(bytes, 16, 4);
  if (name_at != 0) {
    if (name_length > 1023 || name_at > bytes.size() || name_length > bytes.size() - name_at) return std::nullopt;
    header.backing_file = bytes.substr(name_at, name_length);
  }
  std::uint64_t at = version2_length;
  if (version == 3) {
    if (bytes.size() < 104) return std::nullopt;
    const std::uint64_t incompatible = big_endian(bytes, 72, 8);
    header.corrupt = (incompatible & 2) != 0;
    header.external_data_file = (incompatible & 4) != 0;
    at = big_endian(bytes, 100, 4);
  }
  // Extensions: type, length, data padded to 8 bytes; type 0 ends them.
  while (at <= bytes.size() && bytes.size() - at >= 8) {
    const std::uint64_t type = big_endian(bytes, at, 4), length = big_endian(bytes, at + 4, 4);
    at += 8;
    if (type == 0) break;
    if (length > bytes.size() - at) return std::nullopt;
    if (type == backing_format_extension) header.backing_format = bytes.substr(at, length);
    at += (length + 7) / 8 * 8;
  }
  return header;
}

OverlayState check_overlay(const fs::path& path, const fs::path& root_image) {
  const auto bytes = first_bytes(path, 64 * 1024);
  if (!bytes) return OverlayState::missing;
  const auto remedy = "move that file away and start again: the root disk is disposable and made anew";
  const auto header = parse_qcow2_header(*bytes);
  if (!header) throw Error(Errc::io, path.string() + " is not a root disk of ours", remedy).because("it is no qcow2");
  if (header->external_data_file || header->backing_file.empty() || header->backing_format != "raw")
    throw Error(Errc::io, path.string() + " is not a root disk of ours", remedy)
        .because(header->external_data_file     ? "its content lies in another file"
                 : header->backing_file.empty() ? "it lies on no image"
                                                : "its image has the format '" + header->backing_format + "'");
  if (header->corrupt) throw Error(Errc::io, path.string() + " is marked as corrupt by QEMU", remedy);
  return fs::path(header->backing_file) == absolute_path(root_image) ? OverlayState::usable : OverlayState::other_image;
}

DataDisk inspect_data_disk(const fs::path& path) {
  constexpr std::size_t superblock = 1024, magic_at = superblock + 0x38, uuid_at = superblock + 0x68;
  DataDisk disk;
  const auto bytes = first_bytes(path, 4096);
  if (!bytes) return disk;
  disk.size = ByteSize::bytes(size_of(path));
  disk.allocated = ByteSize::bytes(allocated_bytes(path));
  disk.kind = DataDiskKind::foreign;
  const std::string_view all(*bytes);
  if (all.size() < 4096) return disk;
  disk.formatted = all[magic_at] == '\x53' && all[magic_at + 1] == '\xef';
  if (disk.formatted) disk.uuid = uuid_text(all.substr(uuid_at, 16));
  const std::string_view header = all.substr(0, header_size);
  if (auto owner = owner_in(header)) {
    // A file system of somebody else's below our header is not ours either: the guest refuses it too.
    if (!disk.formatted || disk.uuid == *owner) disk.kind = DataDiskKind::ours;
    disk.owner = std::move(*owner);
  } else if (disk.formatted && all_zero(header)) {
    disk.kind = DataDiskKind::unmarked;
    disk.owner = disk.uuid;
  }
  return disk;
}

bool is_half_formatted(const fs::path& path, std::string_view owner) {
  constexpr std::size_t block = 4096;
  std::error_code unknown;
  if (!is_uuid(owner) || !fs::is_regular_file(fs::symlink_status(path, unknown))) return false;
  const auto bytes = first_bytes(path, 2 * block);
  if (!bytes || bytes->size() < 2 * block) return false;
  const std::string_view all(*bytes);
  if (!all_zero(all.substr(0, block))) return false;
  return are_descriptors(all.substr(block), size_of(path), owner) || is_blank(path);
}

void ensure_data_disk(const fs::path& path, std::string_view owner, ByteSize size) {
  if (!is_uuid(owner)) throw Error(Errc::internal, fmt::format("'{}' is no owner for a data disk", owner));
  const DataDisk disk = inspect_data_disk(path);
  switch (disk.kind) {
    case DataDiskKind::missing: create_data_disk(path, owner, size); return;
    case DataDiskKind::foreign: throw not_this_owners(path, "it does not carry our header, or another's file system");
    case DataDiskKind::unmarked:
    case DataDiskKind::ours:
      if (disk.owner != owner) throw not_this_owners(path, "it belongs to " + disk.owner);
  }
  if (disk.size > size)
    throw Error(Errc::invalid_config,
                fmt::format("the data disk has {} and cannot shrink to {}", disk.size.str(), size.str()),
                fmt::format("set the disk to {} or more", disk.size.str()));
  if (disk.size == size) return;
  // The guest grows its file system at the next boot.
  if (::truncate(path.c_str(), static_cast<off_t>(size.count())) != 0)
    throw file_error("grow to " + size.str(), path, errno);
}

}  // namespace cl
