#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "src/base/file.hpp"
#include "src/base/net/held_socket.hpp"

namespace cl {

HeldSocket hold_socket(const std::filesystem::path& folder, const std::filesystem::path& path) {
  const UniqueFd root(::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root) throw file_error("open", folder, errno);
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  const std::string inside = path.lexically_relative(folder).string();
  UniqueFd node(static_cast<int>(::syscall(SYS_openat2, root.get(), inside.c_str(), &how, sizeof how)));
  const int failure = errno;
  if (!node && failure == EXDEV) throw file_error("follow out of " + folder.string(), path, failure);
  if (!node) throw file_error("find", path, failure);
  struct stat facts{};
  if (::fstat(node.get(), &facts) != 0 || !S_ISSOCK(facts.st_mode)) throw file_error("connect to", path, ENOTSOCK);
  std::filesystem::path by = "/proc/self/fd/" + std::to_string(node.get());
  return {std::move(node), std::move(by)};
}

}  // namespace cl
