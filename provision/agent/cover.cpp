#include <fcntl.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <cerrno>
#include <string>

#include "provision/agent/services.hpp"
#include "provision/agent/system.hpp"
#include "provision/channel/protocol.hpp"
#include "src/base/unique_fd.hpp"

// Lays a socket of the guest over the node that a shared folder shows of one of the host's, to which nobody can connect
// here: it is mounted over it. The kernel takes such a mount away as soon as it sees that the host has another node of
// that name, which is so when a server there has started again; then it is laid over that one.

namespace cl::agent {
namespace {

constexpr int look_pause = 100;  // ms; a container's start changes the mounts some twenty times
constexpr int most_layers = 8;   // more mounts of earlier agents than this are on no node

std::string error_of(const char* what) { return std::string("error ") + what + ": " + error_text(errno); }

/// "ok", or "error WHY". Nothing follows a link at `node`: who can write to the folder could lead us elsewhere.
std::string lay(const std::string& socket, const std::string& node) {
  struct stat ours{};
  if (::stat(socket.c_str(), &ours) != 0) return error_of(socket.c_str());
  for (int round = 0; round < most_layers; ++round) {
    const UniqueFd over(::open(node.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    struct stat there{};
    if (!over || ::fstat(over.get(), &there) != 0) return error_of("the guest does not see it");
    if (there.st_dev == ours.st_dev && there.st_ino == ours.st_ino) return "ok";
    if (!S_ISSOCK(there.st_mode)) return "error in the guest it is no socket";
    if (there.st_dev == ours.st_dev) {  // of an agent before this one
      if (::umount2(node.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) != 0) return error_of("the mount over it");
      continue;
    }
    const std::string at = "/proc/self/fd/" + std::to_string(over.get());
    if (::mount(socket.c_str(), at.c_str(), "", MS_BIND, "") != 0) return error_of("it cannot be mounted over");
    return "ok";
  }
  return "error something else is mounted over it";
}

void take_away(const std::string& socket, const std::string& node) {
  struct stat ours{}, there{};
  if (::stat(socket.c_str(), &ours) == 0 && ::lstat(node.c_str(), &there) == 0 && there.st_dev == ours.st_dev)
    ::umount2(node.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
}

}  // namespace

void cover(Channel& host, std::string_view words) {
  const std::string socket(take_word(words)), node(words);
  const UniqueFd mounts(::open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC));
  std::string message;
  for (;;) {
    pollfd waits[2]{{host.fd(), POLLIN, 0}, {mounts.get(), POLLPRI, 0}};
    if (::poll(waits, 2, -1) < 0) continue;
    if (waits[0].revents != 0) {
      if (!host.receive(message)) return;  // it stays: who mounts it meanwhile waits until we are back
      if (message == "look") host.send(lay(socket, node));
      if (message == "forget") return take_away(socket, node);
    } else {
      lay(socket, node);
      host.wait(look_pause);
    }
  }
}

}  // namespace cl::agent
