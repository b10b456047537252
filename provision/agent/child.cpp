#include "provision/agent/child.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "provision/agent/system.hpp"
#include "provision/channel/protocol.hpp"

namespace cl::agent {
namespace {

int running = 0;

[[noreturn]] void run_child(int fd, pid_t parent, const Service& service, const std::string& arguments) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(0);
  ::signal(SIGCHLD, SIG_DFL);
  // Descriptors: the socket as 3, and nothing but stderr below it; stdin and stdout may be the host's.
  if (fd != 3 && ::dup3(fd, 3, O_CLOEXEC) < 0) ::_exit(1);
  ::close(0);
  ::close(1);
  if (::syscall(SYS_close_range, 4, ~0U, 0) != 0)
    for (int other = 4; other < 65536; ++other) ::close(other);
  ::prctl(PR_SET_NAME, (std::string("agent-") + service.name).c_str());
  Channel host(3);
  service.run(host, arguments);
  ::_exit(0);
}

}  // namespace

bool Channel::receive(std::string& message) {
  message.resize(most_data);
  for (;;) {
    const ssize_t got = ::recv(fd_, message.data(), message.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    message.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return got > 0;
  }
}

void Channel::send(std::string_view message) {
  while (::send(fd_, message.data(), message.size(), MSG_NOSIGNAL) < 0)
    if (errno != EINTR) ::_exit(1);
}

void Channel::send_lines(std::string_view lines) {
  while (!lines.empty()) {
    std::size_t size = lines.size();
    if (size > most_data) {
      const std::size_t end = lines.rfind('\n', most_data - 1);
      size = end == std::string_view::npos ? most_data : end + 1;
    }
    send(lines.substr(0, size));
    lines.remove_prefix(size);
  }
}

bool Channel::wait(int milliseconds) {
  pollfd host{fd_, POLLIN, 0};
  return ::poll(&host, 1, milliseconds) == 0;
}

bool Child::start(const Service& service, const std::string& arguments, std::string& why) {
  int ends[2];
  if (running >= most) {
    why = "too many services";
    return false;
  }
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    why = error_text(errno);
    return false;
  }
  socket_.reset(ends[0]);
  const UniqueFd theirs(ends[1]);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid == 0) run_child(ends[1], parent, service, arguments);
  if (pid < 0) {
    why = error_text(errno);
    return false;
  }
  ++running;
  started_ = true;
  tidies_ = service.tidies;
  // Ours alone does not block: a flag of the socket, and so not of the child's end.
  int on = 1;
  ::ioctl(ends[0], FIONBIO, &on);
  process_.reset(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  return true;
}

void Child::stop() {
  if (started_) --running;
  started_ = false;
  if (process_ && !tidies_) ::syscall(SYS_pidfd_send_signal, process_.get(), SIGKILL, nullptr, 0);
  process_.reset();
  socket_.reset();
}

}  // namespace cl::agent
