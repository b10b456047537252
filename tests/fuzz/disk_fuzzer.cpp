// Whatever bytes a downloaded disk holds: it is looked at or refused, within bounds, and the FAT and GPT of ours are
// too.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "src/base/error.hpp"
#include "vm/image/catalog.hpp"
#include "vm/image/disk_files.hpp"
#include "vm/image/url.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  const bool sound = !cl::refuse_qcow2(bytes, std::uint64_t{1} << 40);
  // A sound image names no other file: the pointer and the length of that name are both zero.
  if (sound && bytes.substr(8, 12).find_first_not_of('\0') != std::string::npos) std::abort();

  const cl::DiskFacts facts = cl::inspect_disk([&](std::uint64_t offset, std::size_t length) {
    if (length > (4U << 20U)) std::abort();  // never more memory than that at once
    return offset < bytes.size() ? bytes.substr(static_cast<std::size_t>(offset), length) : std::string();
  });
  for (const char* arch : {"x86_64", "aarch64"}) try {
      cl::boot_way(facts, arch, "fuzz");
    } catch (const cl::Error&) {
    }

  if (const auto url = cl::parse_url(bytes)) {
    // What is sent can end neither a line nor a header, and its text is the same URL again.
    if ((url->host + url->target + url->user_info).find_first_of("\r\n ") != std::string::npos) std::abort();
    const auto again = cl::parse_url(url->str());
    if (!again || again->str() != url->str()) std::abort();
    cl::resolve_url(*url, bytes);
  }
  cl::find_in_sums(bytes, "sha256", "x");
  return 0;
}
