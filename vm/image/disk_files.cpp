#include "vm/image/disk_files.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/json/parse.hpp>
#include <cerrno>

#include "src/base/child.hpp"
#include "src/base/file.hpp"
#include "src/base/unique_fd.hpp"
#include "vm/disk.hpp"

namespace cl {
namespace json = boost::json;
namespace {

constexpr std::size_t sector = 512;
constexpr std::size_t looked_at = 64 * 1024;  // the first cluster of a qcow2 at the usual size
constexpr std::uint64_t most_disk = std::uint64_t{1} << 40;

std::uint64_t little_endian(std::string_view bytes, std::size_t at, std::size_t length) {
  std::uint64_t value = 0;
  for (std::size_t i = length; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
  return value;
}

std::uint64_t big_endian(std::string_view bytes, std::size_t at, std::size_t length) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < length; ++i) value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
  return value;
}

bool is_boot_sector(std::string_view bytes) {
  return bytes.size() >= sector && bytes[510] == '\x55' && bytes[511] == '\xaa';
}

/// Where the EFI system partition begins, in bytes, and its length; nothing when there is none.
struct Extent {
  std::uint64_t begin = 0, length = 0;
};
std::optional<Extent> efi_partition(const ReadAt& read, std::string_view first_sector) {
  // C12A7328-F81F-11D2-BA4B-00A0C93EC93B as it lies on the disk (UEFI specification, 5.3).
  constexpr std::string_view efi_type("\x28\x73\x2a\xc1\x1f\xf8\xd2\x11\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b", 16);
  constexpr std::size_t most_entries = 256;
  constexpr std::uint64_t most_sectors = most_disk / sector;
  const std::string header = read(sector, sector);
  if (header.size() == sector && header.starts_with("EFI PART")) {
    const std::uint64_t table = little_endian(header, 72, 8), entry_size = little_endian(header, 84, 4);
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(little_endian(header, 80, 4), most_entries));
    if (entry_size < 128 || entry_size > 4096 || table > most_sectors) return std::nullopt;
    const std::string entries = read(table * sector, count * static_cast<std::size_t>(entry_size));
    for (std::size_t at = 0; at + 128 <= entries.size(); at += static_cast<std::size_t>(entry_size)) {
      if (std::string_view(entries).substr(at, 16) != efi_type) continue;
      const std::uint64_t first = little_endian(entries, at + 32, 8), last = little_endian(entries, at + 40, 8);
      if (first == 0 || last < first || last > most_sectors) return std::nullopt;
      return Extent{first * sector, (last - first + 1) * sector};
    }
    return std::nullopt;
  }
  for (std::size_t i = 0; i < 4; ++i) {  // an MBR's four
    const std::size_t at = 446 + 16 * i;
    if (first_sector[at + 4] != '\xef') continue;
    return Extent{little_endian(first_sector, at + 8, 4) * sector, little_endian(first_sector, at + 12, 4) * sector};
  }
  return std::nullopt;
}

/// Finds the names of boot loaders among the directory entries of a FAT, without reading it as one: the removable-media
/// path \EFI\BOOT\BOOTX64.EFI is always in it, its directories near the start.
void look_for_loaders(const ReadAt& read, Extent efi, DiskFacts& facts) {
  constexpr std::uint64_t most = 64 << 20;
  constexpr std::size_t at_once = 1 << 20;
  constexpr std::size_t entry = 32;
  for (std::uint64_t done = 0; done < std::min(efi.length, most); done += at_once) {
    const std::string bytes = read(efi.begin + done, at_once);
    for (std::size_t at = 0; at + entry <= bytes.size(); at += entry) {
      const std::string_view name = std::string_view(bytes).substr(at, 11);
      facts.efi_x86_64 = facts.efi_x86_64 || name == "BOOTX64 EFI";
      facts.efi_aarch64 = facts.efi_aarch64 || name == "BOOTAA64EFI";
    }
    if (bytes.size() < at_once || (facts.efi_x86_64 && facts.efi_aarch64)) return;
  }
}

/// What a file is that is no disk, for a message.
std::string_view kind_of(std::string_view bytes) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 9> known{
      {{"\xfd"
        "7zXZ",
        "compressed by xz"},
       {"\x1f\x8b", "compressed by gzip"},
       {"\x28\xb5\x2f\xfd", "compressed by zstd"},
       {"BZh", "compressed by bzip2"},
       {"PK\x03\x04", "a zip archive"},
       {"KDMV", "a VMDK disk"},
       {"vhdxfile", "a VHDX disk"},
       {"conectix", "a VHD disk"},
       {"<", "a text, such as a web page"}}};
  for (const auto& [magic, name] : known)
    if (bytes.starts_with(magic)) return name;
  return "neither a qcow2 nor a raw disk with a boot sector";
}

std::string read_part(int fd, std::uint64_t offset, std::size_t length) {
  std::string bytes(length, '\0');
  std::size_t have = 0;
  while (have < length) {
    const ssize_t got = ::pread(fd, bytes.data() + have, length - have, static_cast<off_t>(offset + have));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    have += static_cast<std::size_t>(got);
  }
  bytes.resize(have);
  return bytes;
}

/// The space that the unpacked disk will take.
asio::awaitable<std::uint64_t> measure(fs::path file) {
  Command command;
  command.argv = {"qemu-img", "measure", "--output=json", "-f", "qcow2", "-O", "raw", file.string()};
  const Finished finished = co_await run(std::move(command), "", std::chrono::minutes(2));
  error_code ec;
  const json::value told = json::parse(finished.output, ec);
  const json::object* facts = ec ? nullptr : told.if_object();
  const json::value* required = facts == nullptr ? nullptr : facts->if_contains("required");
  if (!finished.status.ok() || required == nullptr || !required->is_number())
    throw Error(Errc::invalid_config, "the downloaded image cannot be read")
        .because(fmt::format("qemu-img: {}: {}", finished.status.str(), last_lines(finished.errors, 3)));
  co_return required->to_number<std::uint64_t>();
}

}  // namespace

DiskFacts inspect_disk(const ReadAt& read) {
  DiskFacts facts;
  const std::string first = read(0, sector);
  facts.partitioned = is_boot_sector(first);
  if (!facts.partitioned) return facts;
  const std::string_view code = std::string_view(first).substr(0, 440);
  facts.bios = std::any_of(code.begin(), code.end(), [](char c) { return c != '\0'; });
  if (const auto efi = efi_partition(read, first)) look_for_loaders(read, *efi, facts);
  return facts;
}

DiskFacts inspect_disk(const fs::path& raw) {
  UniqueFd fd(::open(raw.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) throw file_error("open", raw, errno);
  return inspect_disk([&fd](std::uint64_t offset, std::size_t length) { return read_part(fd.get(), offset, length); });
}

std::optional<std::string> refuse_qcow2(std::string_view bytes, std::uint64_t most) {
  constexpr std::uint64_t known_features = 1 | 2 | 4 | 8 | 16;  // dirty, corrupt, data file, compression, L2 entries
  const auto header = parse_qcow2_header(bytes);
  if (!header) return "its header is damaged";
  // Whether QEMU would read that name does not matter: a sound image names none.
  if (big_endian(bytes, 8, 8) != 0 || big_endian(bytes, 16, 4) != 0 || !header->backing_file.empty())
    return "it is an overlay on another file, '" + last_lines(header->backing_file, 1) + "'";
  if (header->external_data_file) return "its content lies in another file";
  if (big_endian(bytes, 32, 4) != 0) return "it is encrypted";
  if (header->corrupt) return "QEMU has marked it as corrupt";
  if (big_endian(bytes, 4, 4) == 3 && (big_endian(bytes, 72, 8) & ~known_features) != 0)
    return "it needs features that are not known here";
  if (header->size == 0 || header->size > most)
    return fmt::format("its disk of {} is not from 1 byte to {}", ByteSize::bytes(header->size).str(),
                       ByteSize::bytes(most).str());
  return std::nullopt;
}

asio::awaitable<void> make_raw(fs::path file, fs::path raw, std::string title,
                               std::function<void(std::string_view)> say) {
  std::string first;
  {
    UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) throw file_error("open", file, errno);
    first = read_part(fd.get(), 0, looked_at);
  }
  const auto refused = [&title](std::string_view why) {
    return Error(Errc::invalid_config, title + " cannot be used as a guest's image",
                 "take a distribution's cloud image, qcow2 or raw, as it is published")
        .because(why);
  };
  if (!first.starts_with(std::string_view("QFI\xfb", 4))) {
    if (!is_boot_sector(first)) throw refused(fmt::format("it is {}", kind_of(first)));
    if (::rename(file.c_str(), raw.c_str()) != 0) throw file_error("move", file, errno);
    co_return;
  }
  if (const auto why = refuse_qcow2(first, most_disk)) throw refused(*why);
  if (!find_program("qemu-img"))
    throw Error(Errc::host_requirement, "qemu-img is not installed",
                "install it with 'apt-get install qemu-utils' (macOS: 'brew install qemu')");
  const std::uint64_t required = co_await measure(file) + least_free_space.count();
  if (free_space(raw.parent_path()) < required)
    throw Error(Errc::host_requirement, "too little space to unpack " + title,
                "free some space there, or remove old images with 'colima-like image prune'")
        .because(fmt::format("{} has {} free, and {} are needed", raw.parent_path().string(),
                             ByteSize::bytes(free_space(raw.parent_path())).str(), ByteSize::bytes(required).str()));
  if (say) say("unpacking " + title);
  Command command;
  command.argv = {"qemu-img", "convert", "-f", "qcow2", "-O", "raw", file.string(), raw.string()};
  const Finished finished = co_await run(std::move(command), "", std::chrono::minutes(60));
  if (!finished.status.ok())
    throw Error(Errc::io, "cannot unpack " + title)
        .because(fmt::format("qemu-img: {}: {}", finished.status.str(), last_lines(finished.errors, 3)));
  if (!inspect_disk(raw).partitioned) throw refused("its disk has no boot sector");
}

std::string boot_way(const DiskFacts& facts, std::string_view arch, std::string_view title) {
  const bool x86 = arch == "x86_64";
  const bool own = x86 ? facts.efi_x86_64 : facts.efi_aarch64;
  const bool other = x86 ? facts.efi_aarch64 : facts.efi_x86_64 || facts.bios;
  if (!own && other)
    throw Error(Errc::invalid_config, fmt::format("{} is no image for {} machines", title, arch),
                "take the publisher's file for that architecture, or set 'arch' to the image's")
        .because(fmt::format("its boot loader is one for {}", x86 ? "aarch64" : "x86_64"));
  return x86 && facts.bios ? "bios" : "efi";
}

}  // namespace cl
