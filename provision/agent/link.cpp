#include "provision/agent/link.hpp"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "provision/agent/system.hpp"
#include "src/base/unique_fd.hpp"

namespace cl::agent {
namespace {

constexpr int no_such_port = 66;          // the service's unit does not start it again then
constexpr int busy_tries = 100;           // an agent that is being replaced may not have left its ports yet
constexpr int busy_pause = 50;            // ms
constexpr int no_descriptor_pause = 100;  // ms

bool set_non_blocking(int fd) {
  int on = 1;
  return ::ioctl(fd, FIONBIO, &on) == 0;
}

int failed(const char* what) {
  std::fprintf(stderr, "colima-like-agent: %s: %s\n", what, std::strerror(errno));
  return 1;
}

/// There may be no udev, so a port is found by its name in /sys. "" when there is none.
std::string port_path(const std::string& name) {
  if (name.find('/') != std::string::npos) return name;
  const std::string folder = "/sys/class/virtio-ports/";
  DIR* const open = ::opendir(folder.c_str());
  if (open == nullptr) return "";
  std::string found;
  while (const dirent* entry = ::readdir(open))
    if (read_file((folder + entry->d_name + "/name").c_str()) == name + "\n")
      found = std::string("/dev/") + entry->d_name;
  ::closedir(open);
  return found;
}

UniqueFd open_port(const std::string& path) {
  for (int tries = 0;; ++tries) {
    UniqueFd port(::open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
    if (port || (errno != EBUSY && errno != EMFILE) || tries == busy_tries) return port;
    ::poll(nullptr, 0, busy_pause);
  }
}

struct Listener {
  UniqueFd socket;
  int family = 0;
};

bool listen_at(const std::string& where, Listener& listener) {
  sockaddr_storage storage{};
  socklen_t size = 0;
  const std::size_t colon = where.rfind(':');
  if (where.starts_with("vsock:")) {
    auto& address = reinterpret_cast<sockaddr_vm&>(storage);
    address.svm_family = AF_VSOCK;
    address.svm_cid = VMADDR_CID_ANY;
    address.svm_port = static_cast<unsigned>(std::strtoul(where.c_str() + 6, nullptr, 10));
    size = sizeof address;
  } else if (where.starts_with("unix:")) {
    auto& address = reinterpret_cast<sockaddr_un&>(storage);
    address.sun_family = AF_UNIX;
    const std::string path = where.substr(5);
    errno = ENAMETOOLONG;
    if (path.size() >= sizeof address.sun_path) return false;
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    ::unlink(path.c_str());
    size = sizeof address;
  } else if (where.starts_with("tcp:") && colon > 4) {
    const std::string host = where.substr(4, colon - 4);
    const auto port = htons(static_cast<std::uint16_t>(std::strtoul(where.c_str() + colon + 1, nullptr, 10)));
    auto& v4 = reinterpret_cast<sockaddr_in&>(storage);
    auto& v6 = reinterpret_cast<sockaddr_in6&>(storage);
    errno = EADDRNOTAVAIL;  // whoever connects has our rights
    if (::inet_pton(AF_INET, host.c_str(), &v4.sin_addr) == 1 && ntohl(v4.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET) {
      v4.sin_family = AF_INET;
      v4.sin_port = port;
      size = sizeof v4;
    } else if (::inet_pton(AF_INET6, host.c_str(), &v6.sin6_addr) == 1 && IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr)) {
      v6.sin6_family = AF_INET6;
      v6.sin6_port = port;
      size = sizeof v6;
    } else {
      return false;
    }
  } else {
    errno = EINVAL;
    return false;
  }
  listener.family = storage.ss_family;
  listener.socket.reset(::socket(storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int on = 1;
  ::setsockopt(listener.socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  ::umask(0177);
  return listener.socket && ::bind(listener.socket.get(), reinterpret_cast<sockaddr*>(&storage), size) == 0 &&
         ::listen(listener.socket.get(), 16) == 0;
}

/// By vsock the host alone may come, not a program of the guest by its loopback.
bool may_come(int fd, int family) {
  if (family != AF_VSOCK) return true;
  sockaddr_vm peer{};
  socklen_t size = sizeof peer;
  return ::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) == 0 && peer.svm_cid == VMADDR_CID_HOST;
}

/// Remembers that somebody has come.
struct Door : Watched {
  void ready(std::uint32_t) override { knocked = true; }
  bool knocked = true;
};

}  // namespace

int serve_stdio(Session& session) {
  if (!set_non_blocking(0) || !set_non_blocking(1) || !session.attach(0, 1, false)) return failed("stdin and stdout");
  while (!session.ended()) session.turn();
  return 0;
}

int serve_ports(Session& session, const std::string& in, const std::string& out) {
  const std::string in_path = port_path(in), out_path = port_path(out);
  if (in_path.empty() || out_path.empty()) {
    std::fprintf(stderr, "colima-like-agent: the machine has no port %s\n", (in_path.empty() ? in : out).c_str());
    return no_such_port;
  }
  const UniqueFd from = open_port(in_path);
  if (!from) return failed(in_path.c_str());
  const UniqueFd to = open_port(out_path);
  if (!to) return failed(out_path.c_str());
  if (!session.attach(from.get(), to.get(), true)) return failed("the ports");
  for (;;) session.turn();
}

int serve_listener(Session& session, const std::string& where) {
  Listener listener;
  if (!listen_at(where, listener)) return failed(where.c_str());
  Door door;
  for (Loop* loop : {&session.loop(), &session.link_loop()})
    if (!loop->add(listener.socket.get(), door)) return failed(where.c_str());
  UniqueFd connection;
  for (;;) {
    session.turn();
    if (connection && session.ended()) {
      session.detach();
      connection.reset();
    }
    while (door.knocked) {
      UniqueFd next(::accept4(listener.socket.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
      const int failure = errno;
      if (!next && (failure == EMFILE || failure == ENFILE || failure == ENOBUFS || failure == ENOMEM)) {
        // The connection that is replaced has them.
        if (connection) session.detach();
        connection.reset();
        ::poll(nullptr, 0, no_descriptor_pause);
        continue;
      }
      if (!next) door.knocked = failure == ECONNABORTED || failure == EINTR;
      if (!next || !may_come(next.get(), listener.family)) continue;
      const int on = 1;
      ::setsockopt(next.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      if (connection) session.detach();
      connection = std::move(next);
      if (!session.attach(connection.get(), connection.get(), false)) return failed(where.c_str());
    }
  }
}

}  // namespace cl::agent
