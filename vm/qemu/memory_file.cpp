#include "vm/qemu/memory_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/post.hpp>

#include "src/base/file.hpp"
#include "src/base/sparse.hpp"

namespace cl {
namespace fs = std::filesystem;
namespace {

constexpr const char* name = "colima-like-memory";

/// Of the first `size` bytes. Others have a turn now and then.
asio::awaitable<void> copy(int from, int to, std::uint64_t size, fs::path path) {
  constexpr std::uint64_t piece = 8 << 20;  // some 10 ms
  auto executor = co_await asio::this_coro::executor;
  std::uint64_t since_pause = 0;
  for (Extent extent : data_extents(from)) {
    const std::uint64_t end = std::min(extent.offset + extent.length, size);
    for (std::uint64_t at = extent.offset; at < end; at += piece) {
      const std::uint64_t length = std::min(piece, end - at);
      copy_extent(from, to, {at, length}, path);
      since_pause += length;
      if (since_pause < piece) continue;
      since_pause = 0;
      co_await asio::post(executor, asio::use_awaitable);
    }
  }
}

UniqueFd open_file(const fs::path& path, int flags) {
  UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC));
  if (!fd) throw file_error("open", path, errno);
  return fd;
}

}  // namespace

UniqueFd make_memory_file(ByteSize size) {
#ifdef __linux__
  UniqueFd fd(::memfd_create(name, MFD_CLOEXEC));
  if (!fd || ::ftruncate(fd.get(), static_cast<off_t>(size.count())) != 0)
    throw io_error("cannot make the machine's memory", errno);
  return fd;
#else
  throw Error(Errc::host_requirement, "this system has no memory that two programs share by name " + size.str());
#endif
}

UniqueFd memory_file_of(pid_t qemu) {
  std::error_code none;
  const fs::path descriptors = fs::path("/proc") / std::to_string(qemu) / "fd";
  for (const auto& entry : fs::directory_iterator(descriptors, none)) {
    const std::string target = fs::read_symlink(entry.path(), none);
    if (target.starts_with(std::string("/memfd:") + name)) return open_file(entry.path(), O_RDWR);
  }
  return {};
}

std::uint64_t size_of_memory(int file) {
  struct stat facts{};
  if (::fstat(file, &facts) != 0) throw io_error("cannot look at the machine's memory", errno);
  return static_cast<std::uint64_t>(facts.st_size);
}

asio::awaitable<void> write_memory(int memory, fs::path path) {
  const UniqueFd file = open_file(path, O_WRONLY);
  co_await copy(memory, file.get(), size_of_memory(memory), path);
}

asio::awaitable<void> read_memory(fs::path path, int memory) {
  const UniqueFd file = open_file(path, O_RDONLY);
  co_await copy(file.get(), memory, size_of_memory(memory), path);
}

}  // namespace cl
