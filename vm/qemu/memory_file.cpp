#include "vm/qemu/memory_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "src/base/blocking.hpp"
#include "src/base/file.hpp"
#include "src/base/sparse.hpp"

namespace cl {
namespace fs = std::filesystem;
namespace {

constexpr const char* name = "colima-like-memory";

UniqueFd open_file(const fs::path& path, int flags) {
  UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC));
  if (!fd) throw file_error("open", path, errno);
  return fd;
}

using SharedFd = std::shared_ptr<const UniqueFd>;  // a copy that hangs keeps it

/// The data in the first `size` bytes, in parts that are copied at once each.
std::vector<std::vector<Extent>> parts_of(int file, std::uint64_t size) {
  constexpr std::uint64_t most = 8 << 20;  // some 10 ms
  std::vector<std::vector<Extent>> parts;
  std::uint64_t room = 0;
  for (const Extent& extent : data_extents(file)) {
    const std::uint64_t end = std::min(extent.offset + extent.length, size);
    for (std::uint64_t at = extent.offset; at < end;) {
      if (room == 0) {
        parts.emplace_back();
        room = most;
      }
      const std::uint64_t length = std::min(room, end - at);
      parts.back().push_back({at, length});
      at += length;
      room -= length;
    }
  }
  return parts;
}

/// Of the first `size` bytes. A cancelled one writes no more than the part that it is at.
asio::awaitable<void> copy(SharedFd from, SharedFd to, std::uint64_t size, fs::path path) {
  auto look = [from, size] { return parts_of(from->get(), size); };
  const auto parts = co_await blocking(std::move(look));
  for (const std::vector<Extent>& part : parts) {
    auto work = [from, to, part, path] {
      for (const Extent& extent : part) copy_extent(from->get(), to->get(), extent, path);
    };
    co_await blocking(std::move(work));
  }
}

/// Off the loop, too: what a disk that stalls does not answer.
asio::awaitable<SharedFd> open_file_shared(fs::path path, int flags) {
  auto work = [path, flags] { return std::make_shared<const UniqueFd>(open_file(path, flags)); };
  co_return co_await blocking(std::move(work));
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

asio::awaitable<void> write_memory(SharedFd memory, fs::path path) {
  const SharedFd file = co_await open_file_shared(path, O_WRONLY);
  co_await copy(memory, file, size_of_memory(memory->get()), path);
}

asio::awaitable<void> read_memory(fs::path path, SharedFd memory) {
  const SharedFd file = co_await open_file_shared(path, O_RDONLY);
  co_await copy(file, memory, size_of_memory(memory->get()), path);
}

}  // namespace cl
