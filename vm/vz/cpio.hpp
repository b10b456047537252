#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace cl {

/// A file in an archive, of mode 0400.
struct CpioFile {
  std::string name;
  std::string content;
};

/// An initrd in itself ("newc" format) that holds `directory` (0700) with these files. Put behind another one, at a
/// multiple of four bytes, it is unpacked over that (Linux:
/// Documentation/driver-api/early-userspace/buffer-format.rst). Pure.
std::string cpio_archive(std::string_view directory, const std::vector<CpioFile>& files);

/// `initrd` with such an archive behind it.
std::string append_cpio(std::string initrd, std::string_view archive);

}  // namespace cl
