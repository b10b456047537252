#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <limits>

#include "provision/agent/services.hpp"
#include "provision/agent/system.hpp"
#include "provision/channel/protocol.hpp"
#include "src/base/unique_fd.hpp"

namespace cl::agent {
namespace {

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
  for_each(host, paths, [](int at) {
    fstrim_range range{};
    range.len = std::numeric_limits<decltype(range.len)>::max();
    if (::ioctl(at, FITRIM, &range) != 0) return "error " + error_text(errno);
    return "ok " + std::to_string(range.len);
  });
}

void sync_disks(Channel& host, std::string_view paths) {
  for_each(host, paths, [](int at) { return ::syncfs(at) == 0 ? std::string("ok") : "error " + error_text(errno); });
}

}  // namespace cl::agent
