#include "vm/vz/cpio.hpp"

#include <fmt/format.h>

#include <cstdint>

namespace cl {
namespace {

constexpr std::uint32_t directory_mode = 040700, file_mode = 0100400;

void pad(std::string& archive) { archive.resize((archive.size() + 3) / 4 * 4, '\0'); }

void add_entry(std::string& archive, std::uint32_t inode, std::uint32_t mode, std::string_view name,
               std::string_view content) {
  // magic inode mode uid gid nlink mtime size, device twice, size of the name with its NUL, checksum (not used)
  archive += fmt::format("070701{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}", inode,
                         mode, 0, 0, 1, 0, content.size(), 0, 0, 0, 0, name.size() + 1, 0);
  archive += name;
  archive += '\0';
  pad(archive);
  archive += content;
  pad(archive);
}

}  // namespace

std::string cpio_archive(std::string_view directory, const std::vector<CpioFile>& files) {
  std::string archive;
  std::uint32_t inode = 1;
  add_entry(archive, inode, directory_mode, directory, {});
  for (const CpioFile& file : files)
    add_entry(archive, ++inode, file_mode, fmt::format("{}/{}", directory, file.name), file.content);
  add_entry(archive, 0, 0, "TRAILER!!!", {});
  return archive;
}

std::string append_cpio(std::string initrd, std::string_view archive) {
  pad(initrd);
  initrd += archive;
  return initrd;
}

}  // namespace cl
