#include "provision/agent/kept_sockets.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string_view>

#include "provision/channel/protocol.hpp"
#include "src/base/fnv.hpp"

namespace cl::agent {
namespace {

constexpr int first_passed = 3;  // sd_listen_fds(3)

/// In systemd's store: a name there must not have every character that a path may have.
std::string name_of(std::string_view path) {
  char name[24];
  std::snprintf(name, sizeof name, "s%016llx", static_cast<unsigned long long>(fnv1a_64(path)));
  return name;
}

/// Tells systemd, as sd_pid_notify_with_fds(3) does; nobody is told where it does not run us.
void tell_systemd(const std::string& words, int passed) {
  const char* where = std::getenv("NOTIFY_SOCKET");
  sockaddr_un address{};
  if (where == nullptr || std::strlen(where) < 2 || std::strlen(where) >= sizeof address.sun_path) return;
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, where, std::strlen(where));
  if (address.sun_path[0] == '@') address.sun_path[0] = '\0';
  iovec text{const_cast<char*>(words.data()), words.size()};
  msghdr message{};
  message.msg_name = &address;
  message.msg_namelen = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + std::strlen(where));
  message.msg_iov = &text;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char space[CMSG_SPACE(sizeof(int))] = {};
  if (passed >= 0) {
    message.msg_control = space;
    message.msg_controllen = sizeof space;
    cmsghdr* const rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(rights), &passed, sizeof passed);
  }
  const UniqueFd to(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (to) ::sendmsg(to.get(), &message, MSG_NOSIGNAL);
}

/// Of a listening socket that is still in its folder.
std::optional<std::string> path_of(int socket) {
  int listens = 0;
  socklen_t size = sizeof listens;
  if (::getsockopt(socket, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0 || listens == 0) return std::nullopt;
  sockaddr_un address{};
  size = sizeof address - 1;  // so that the path ends
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0 || address.sun_family != AF_UNIX)
    return std::nullopt;
  struct stat facts{};
  if (::lstat(address.sun_path, &facts) != 0 || !S_ISSOCK(facts.st_mode)) return std::nullopt;
  return address.sun_path;
}

template <class Number>
Number number_in(const char* variable) {
  const char* text = std::getenv(variable);
  Number number = 0;
  if (text == nullptr || !read_number(std::string_view(text), number)) return 0;
  return number;
}

}  // namespace

void KeptSockets::take_over() {
  const bool for_us = number_in<long>("LISTEN_PID") == static_cast<long>(::getpid());
  const int count = for_us ? number_in<int>("LISTEN_FDS") : 0;
  for (int fd = first_passed; fd < first_passed + count; ++fd) {
    UniqueFd passed(fd);
    ::fcntl(fd, F_SETFD, FD_CLOEXEC);
    ::fcntl(fd, F_SETFL, O_NONBLOCK);
    if (const auto path = path_of(fd)) sockets_.insert_or_assign(*path, std::move(passed));
  }
  for (const char* told : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) ::unsetenv(told);
}

UniqueFd KeptSockets::find(const std::string& path) const {
  const auto found = sockets_.find(path);
  if (found == sockets_.end() || path_of(found->second.get()) != path) return {};
  return UniqueFd(::fcntl(found->second.get(), F_DUPFD_CLOEXEC, 0));
}

bool KeptSockets::add(const std::string& path, const UniqueFd& socket) {
  if (!sockets_.contains(path) && sockets_.size() >= most) return false;
  UniqueFd kept(::fcntl(socket.get(), F_DUPFD_CLOEXEC, 0));
  if (!kept) return false;
  const std::string name = "\nFDNAME=" + name_of(path);
  tell_systemd("FDSTOREREMOVE=1" + name, -1);  // one that was there, and whose node is gone
  tell_systemd("FDSTORE=1" + name, kept.get());
  sockets_.insert_or_assign(path, std::move(kept));
  return true;
}

void KeptSockets::forget(const std::string& path) {
  if (sockets_.erase(path) == 0) return;
  tell_systemd("FDSTOREREMOVE=1\nFDNAME=" + name_of(path), -1);
  ::unlink(path.c_str());
}

}  // namespace cl::agent
