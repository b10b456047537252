#include <dirent.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/fs.h>
#include <linux/sockios.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <memory>

#include "src/base/file.hpp"
#include "src/base/platform.hpp"
#include "src/base/unique_fd.hpp"

namespace cl::platform {

std::uint64_t memory_bytes() {
  return static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

std::filesystem::path executable() {
  std::error_code failure;
  std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", failure);
  if (failure) throw file_error("read", "/proc/self/exe", failure.value());
  return program;
}

std::filesystem::path running_program() { return "/proc/self/exe"; }

std::string kernel_release() {
  utsname names{};
  return ::uname(&names) == 0 ? names.release : "unknown";
}

std::string macos_version() { return {}; }

std::string boot_id() {
  std::string id = read_file_if_exists("/proc/sys/kernel/random/boot_id").value_or("unknown\n");
  id.erase(id.find_last_not_of('\n') + 1);
  return id;
}

namespace {

/// Whether a descriptor of a process is the open file that has the lock. The kernel's list of locks names who took it,
/// who may be gone and have left it to a child.
bool has_lock(const std::string& process, const std::string& descriptor) {
  try {
    const auto facts = read_file_if_exists(process + "/fdinfo/" + descriptor);
    return facts && facts->find("\nlock:\t") != std::string::npos && facts->find("FLOCK") != std::string::npos;
  } catch (const Error&) {
    return false;  // it was closed meanwhile
  }
}

/// By the names of the process's descriptors: following one would ask the file system that it is of, which may hang.
bool holds_lock(pid_t pid, const std::string& file) {
  const std::string process = "/proc/" + std::to_string(pid);
  const std::unique_ptr<DIR, int (*)(DIR*)> descriptors(::opendir((process + "/fd").c_str()), ::closedir);
  if (!descriptors) return false;
  std::string name(file.size() + 1, '\0');  // one more, so that a longer one is none
  while (const dirent* entry = ::readdir(descriptors.get())) {
    const ssize_t size = ::readlinkat(::dirfd(descriptors.get()), entry->d_name, name.data(), name.size());
    if (size == static_cast<ssize_t>(file.size()) && name.starts_with(file) && has_lock(process, entry->d_name))
      return true;
  }
  return false;
}

}  // namespace

pid_t lock_holder(const std::filesystem::path& file, pid_t likely) {
  std::error_code missing;
  const std::string path = std::filesystem::canonical(file, missing).string();
  if (missing) return 0;
  if (likely > 0 && likely != ::getpid() && holds_lock(likely, path)) return likely;
  const std::unique_ptr<DIR, int (*)(DIR*)> processes(::opendir("/proc"), ::closedir);
  while (const dirent* entry = processes ? ::readdir(processes.get()) : nullptr) {
    const pid_t pid = std::atoi(entry->d_name);  // 0 for what is no process
    if (pid > 0 && pid != ::getpid() && holds_lock(pid, path)) return pid;
  }
  return 0;
}

std::pair<std::uint16_t, std::uint16_t> connection_ports() {
  std::pair<std::uint16_t, std::uint16_t> ports{32768, 60999};
  std::ifstream("/proc/sys/net/ipv4/ip_local_port_range") >> ports.first >> ports.second;
  return ports;
}

pid_t peer_pid(int connected_socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  return ::getsockopt(connected_socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 ? peer.pid : 0;
}

std::uint64_t resident_bytes(pid_t pid) {
  const std::string sizes = read_file_if_exists("/proc/" + std::to_string(pid) + "/statm").value_or("");
  const auto second = sizes.find(' ');
  if (second == std::string::npos) return 0;
  return std::strtoull(sizes.c_str() + second, nullptr, 10) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

std::size_t unread_by_peer(int connected_socket) {
  int count = 0;  // of unix sockets, and it counts the kernel's own bytes too: 0 is what matters
  return ::ioctl(connected_socket, SIOCOUTQ, &count) == 0 ? static_cast<std::size_t>(count) : 0;
}

Process::Process(pid_t pid) : pid_(pid), fd_(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))) {}

bool Process::kill(int signal) const noexcept {
  return fd_ && ::syscall(SYS_pidfd_send_signal, fd_.get(), signal, nullptr, 0) == 0;
}

bool clone_file(const std::filesystem::path& from, const std::filesystem::path& to) noexcept {
  const UniqueFd source(::open(from.c_str(), O_RDONLY | O_CLOEXEC));
  const UniqueFd target(::open(to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!source || !target) return false;
  if (::ioctl(target.get(), FICLONE, source.get()) == 0) return true;
  ::unlink(to.c_str());
  return false;
}

namespace {

/// A descriptor of our own that becomes readable.
asio::awaitable<void> until_readable(UniqueFd fd) {
  asio::posix::stream_descriptor watched(co_await asio::this_coro::executor, fd.release());
  const error_code failure = co_await ready(watched, asio::posix::stream_descriptor::wait_read, POLLIN);
  if (failure) throw boost::system::system_error(failure);
}

}  // namespace

asio::awaitable<void> wait_until_gone(pid_t pid) {
  // A pidfd becomes readable when the process ends, and never means a later process with that number.
  UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!fd) {
    const int saved = errno;
    if (saved == ESRCH) co_return;
    throw io_error("cannot watch process " + std::to_string(pid), saved);
  }
  co_await until_readable(std::move(fd));
}

asio::awaitable<void> wait_readable(int fd) {
  // Asio would make the descriptor itself non-blocking; an epoll of our own is readable when it is.
  UniqueFd watch(::epoll_create1(EPOLL_CLOEXEC));
  epoll_event wanted{EPOLLIN, {}};
  if (!watch) throw io_error("cannot wait for input", errno);
  if (::epoll_ctl(watch.get(), EPOLL_CTL_ADD, fd, &wanted) != 0) {
    const int saved = errno;
    if (saved == EPERM) co_return;  // never waits
    throw io_error("cannot wait for input", saved);
  }
  co_await until_readable(std::move(watch));
}

asio::awaitable<void> wall_clock_set() {
  // A timer that never comes, but is cancelled when the clock is set or the host resumes (timerfd_create(2)).
  UniqueFd timer(::timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK));
  itimerspec never{};
  never.it_value.tv_sec = std::numeric_limits<std::int32_t>::max();  // 2038, and every timer there is takes it
  if (!timer || ::timerfd_settime(timer.get(), TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, nullptr) != 0)
    throw io_error("cannot watch the clock", errno);
  asio::posix::stream_descriptor watched(co_await asio::this_coro::executor, timer.release());
  for (;;) {
    co_await watched.async_wait(asio::posix::stream_descriptor::wait_read, asio::use_awaitable);
    std::uint64_t times = 0;
    if (::read(watched.native_handle(), &times, sizeof times) < 0 && errno == ECANCELED) co_return;
  }
}

int seal_descriptors(const std::vector<int>& keep) noexcept {
  if (::syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC) != 0) return errno;
  for (const int fd : keep)
    if (::fcntl(fd, F_SETFD, 0) != 0) return errno;
  return 0;
}

void avoid_huge_pages() noexcept { ::prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0); }

void return_freed_memory() noexcept {
#ifdef __GLIBC__
  // Its own defaults; setting them ends the raising.
  ::mallopt(M_MMAP_THRESHOLD, 128 * 1024);
  ::mallopt(M_TRIM_THRESHOLD, 128 * 1024);
  ::mallopt(M_ARENA_MAX, 1);  // threads for files (blocking.hpp) come and go, and allocate little
#endif
}

std::size_t max_socket_path() noexcept { return sizeof(sockaddr_un::sun_path) - 1; }

}  // namespace cl::platform
