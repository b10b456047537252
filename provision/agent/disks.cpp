#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <limits>

#include "provision/agent/services.hpp"
#include "provision/agent/system.hpp"
#include "provision/channel/protocol.hpp"
#include "src/base/unique_fd.hpp"

namespace cl::agent {
namespace {

using Clock = std::chrono::steady_clock;

/// What is trimmed by one call: whoever writes meanwhile waits for so much at most. Eight block groups of ext4, which
/// remembers of each whether anything was freed in it.
constexpr std::uint64_t least_slice = 1ULL << 30;
constexpr std::uint64_t most_slices = 256;
/// Between two slices, in times of what the last one took: the disk is others' meanwhile.
constexpr int rest = 3;
constexpr auto longest_rest = std::chrono::milliseconds(200);
/// Shorter pieces cost more calls than they give back.
constexpr std::uint64_t least_piece = 64 * 1024;

/// What `work` says of each path, told as it comes.
template <class Work>
void for_each(Channel& host, std::string_view paths, const Work& work) {
  while (!paths.empty()) {
    const std::string path(take_word(paths));
    const UniqueFd at(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    host.send(path + " " + (at ? work(at.get()) : "error " + error_text(errno)) + "\n");
  }
}

}  // namespace

void trim(Channel& host, std::string_view paths) {
  for_each(host, paths, [&host](int at) {
    struct statvfs facts{};
    if (::fstatvfs(at, &facts) != 0) return "error " + error_text(errno);
    const std::uint64_t size = std::uint64_t{facts.f_blocks} * facts.f_frsize;
    const std::uint64_t slice =
        std::max(least_slice, (size / most_slices + least_slice - 1) / least_slice * least_slice);
    std::uint64_t freed = 0;
    // The size is without the file system's own blocks: what it does not reach is the last slice's, which has no end.
    for (std::uint64_t from = 0;; from += slice) {
      const bool last = from + slice >= size;
      fstrim_range range{};
      range.start = from;
      range.len = last ? std::numeric_limits<decltype(range.len)>::max() - from : slice;
      range.minlen = least_piece;
      const auto begun = Clock::now();
      if (::ioctl(at, FITRIM, &range) != 0) return "error " + error_text(errno);
      freed += range.len;
      if (last) return "ok " + std::to_string(freed);
      const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begun) * rest;
      if (took.count() > 0 && !host.wait(static_cast<int>(std::min(took, longest_rest).count()))) ::_exit(0);
    }
  });
}

void sync_disks(Channel& host, std::string_view paths) {
  for_each(host, paths, [](int at) { return ::syncfs(at) == 0 ? std::string("ok") : "error " + error_text(errno); });
}

}  // namespace cl::agent
