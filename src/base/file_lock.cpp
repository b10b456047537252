#include "src/base/file_lock.hpp"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>

#include "src/base/error.hpp"

namespace cl {

std::optional<FileLock> FileLock::try_acquire(const std::filesystem::path& file) {
  UniqueFd fd(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) throw io_error("cannot open the lock " + file.string(), errno);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return FileLock(std::move(fd));
  const int saved = errno;
  if (saved == EWOULDBLOCK) return std::nullopt;
  throw io_error("cannot lock " + file.string(), saved);
}

bool FileLock::is_held(const std::filesystem::path& file) {
  UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return false;
  // A shared lock: two askers do not see each other, only a holder of the exclusive one.
  return ::flock(fd.get(), LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

}  // namespace cl
