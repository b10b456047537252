#include "src/base/sparse.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "src/base/file.hpp"
#include "src/base/platform.hpp"
#include "src/base/unique_fd.hpp"

namespace cl {
namespace {

std::uint64_t size_of(int fd) {
  struct stat facts{};
  if (::fstat(fd, &facts) != 0) throw io_error("cannot look at a file", errno);
  return static_cast<std::uint64_t>(facts.st_size);
}

}  // namespace

std::vector<Extent> data_extents(int fd) {
  const std::uint64_t size = size_of(fd);
  std::vector<Extent> extents;
  for (std::uint64_t at = 0; at < size;) {
    const off_t begin = ::lseek(fd, static_cast<off_t>(at), SEEK_DATA);
    if (begin < 0 && errno == ENXIO) break;  // only a hole up to the end
    if (begin < 0) return {{0, size}};       // a file system without holes
    const off_t end = ::lseek(fd, begin, SEEK_HOLE);
    if (end < 0) throw io_error("cannot find the holes of a file", errno);
    extents.push_back({static_cast<std::uint64_t>(begin), static_cast<std::uint64_t>(end - begin)});
    at = static_cast<std::uint64_t>(end);
  }
  return extents;
}

void copy_extent(int from, int to, Extent extent, const std::filesystem::path& path) {
  constexpr std::uint64_t piece = 1 << 20;
  std::vector<char> buffer(std::min(piece, extent.length));
  while (extent.length > 0) {
    const std::size_t want = std::min<std::uint64_t>(buffer.size(), extent.length);
    const ssize_t got = ::pread(from, buffer.data(), want, static_cast<off_t>(extent.offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw file_error("copy the data for", path, errno);
    if (got == 0) throw Error(Errc::io, "the file became shorter while it was copied");
    for (ssize_t put = 0; put < got;) {
      const ssize_t count = ::pwrite(to, buffer.data() + put, static_cast<std::size_t>(got - put),
                                     static_cast<off_t>(extent.offset) + put);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) throw file_error("write", path, errno);
      put += count;
    }
    extent.offset += static_cast<std::uint64_t>(got);
    extent.length -= static_cast<std::uint64_t>(got);
  }
}

void copy_sparse(const std::filesystem::path& from, const std::filesystem::path& to) {
  const UniqueFd source(::open(from.c_str(), O_RDONLY | O_CLOEXEC));
  if (!source) throw file_error("open", from, errno);
  const bool cloned = platform::clone_file(from, to);  // shares the blocks, where it can: nothing is copied at all
  const UniqueFd target(::open(to.c_str(), (cloned ? O_RDWR : O_WRONLY | O_CREAT | O_EXCL) | O_CLOEXEC, 0600));
  if (!target) throw file_error("create", to, errno);
  try {
    if (!cloned) {
      if (::ftruncate(target.get(), static_cast<off_t>(size_of(source.get()))) != 0)
        throw file_error("size", to, errno);
      for (const Extent& extent : data_extents(source.get())) copy_extent(source.get(), target.get(), extent, to);
    }
    if (::fsync(target.get()) != 0) throw file_error("write", to, errno);
  } catch (...) {
    ::unlink(to.c_str());
    throw;
  }
}

}  // namespace cl
