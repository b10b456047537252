#include "src/base/file_lock.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>

#include "src/base/file.hpp"

namespace cl {

std::optional<FileLock> FileLock::try_acquire(const std::filesystem::path& file) {
  for (;;) {
    UniqueFd fd(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!fd) throw file_error("open the lock", file, errno);
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
      const int saved = errno;
      // is_held() of somebody else takes a shared lock for a moment: only who refuses that too is a holder.
      if (saved == EWOULDBLOCK && ::flock(fd.get(), LOCK_SH | LOCK_NB) == 0) continue;
      if (saved == EWOULDBLOCK) return std::nullopt;
      throw file_error("lock", file, saved);
    }
    // Its last holder may have deleted the file together with everything else: a lock on a nameless file
    // excludes nobody.
    struct stat held{}, named{};
    if (::fstat(fd.get(), &held) == 0 && ::stat(file.c_str(), &named) == 0 && held.st_ino == named.st_ino &&
        held.st_dev == named.st_dev)
      return FileLock(std::move(fd));
  }
}

bool FileLock::is_held(const std::filesystem::path& file) {
  UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return false;
  // A shared lock: two askers do not see each other, only a holder of the exclusive one.
  return ::flock(fd.get(), LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

/// flock has no event to wait for without a thread, hence the timer.
asio::awaitable<FileLock> wait_for_lock(std::filesystem::path file, std::function<void()> waits) {
  constexpr std::chrono::milliseconds pause{200};
  bool told = false;
  for (;;) {
    if (auto lock = FileLock::try_acquire(file)) co_return std::move(*lock);
    if (!told && waits) waits();
    told = true;
    co_await sleep_for(pause);
  }
}

}  // namespace cl
