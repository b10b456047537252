#include <fcntl.h>
#include <libproc.h>
#include <mach-o/dyld.h>
#include <poll.h>
#include <signal.h>
#include <sys/clonefile.h>
#include <sys/event.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysctl.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdlib>

#include "src/base/file.hpp"
#include "src/base/platform.hpp"
#include "src/base/unique_fd.hpp"

namespace cl::platform {

std::uint64_t memory_bytes() {
  std::uint64_t bytes = 0;
  std::size_t size = sizeof bytes;
  ::sysctlbyname("hw.memsize", &bytes, &size, nullptr, 0);
  return bytes;
}

std::filesystem::path executable() {
  std::uint32_t size = 0;
  ::_NSGetExecutablePath(nullptr, &size);
  std::string path(size, '\0');
  if (::_NSGetExecutablePath(path.data(), &size) != 0) throw Error(Errc::internal, "cannot find our own program file");
  return real_path(path.c_str());
}

std::filesystem::path running_program() { return executable(); }

std::string kernel_release() {
  utsname names{};
  return ::uname(&names) == 0 ? names.release : "unknown";
}

std::string macos_version() {
  char version[32] = "";
  std::size_t size = sizeof version;
  ::sysctlbyname("kern.osproductversion", version, &size, nullptr, 0);
  return version;
}

std::string boot_id() {
  char id[64] = "unknown";
  std::size_t size = sizeof id;
  ::sysctlbyname("kern.bootsessionuuid", id, &size, nullptr, 0);
  return id;
}

pid_t peer_pid(int connected_socket) {
  pid_t pid = 0;
  socklen_t size = sizeof pid;
  return ::getsockopt(connected_socket, SOL_LOCAL, LOCAL_PEERPID, &pid, &size) == 0 ? pid : 0;
}

pid_t lock_holder(const std::filesystem::path& file, pid_t likely) {
  constexpr std::size_t most = 64;  // processes that have one file of ours open
  std::array<pid_t, most> found{};
  const int size = ::proc_listpidspath(PROC_UID_ONLY, ::getuid(), file.c_str(), PROC_LISTPIDSPATH_EXCLUDE_EVTONLY,
                                       found.data(), sizeof found);
  const std::size_t count = std::min(most, static_cast<std::size_t>(std::max(size, 0)) / sizeof(pid_t));
  const auto end = found.begin() + static_cast<std::ptrdiff_t>(count);
  if (likely > 0 && likely != ::getpid() && std::find(found.begin(), end, likely) != end) return likely;
  const auto other = std::find_if(found.begin(), end, [](pid_t pid) { return pid > 0 && pid != ::getpid(); });
  return other == end ? 0 : *other;
}

std::pair<std::uint16_t, std::uint16_t> connection_ports() {
  int first = 49152, last = 65535;
  std::size_t size = sizeof first;
  ::sysctlbyname("net.inet.ip.portrange.first", &first, &size, nullptr, 0);
  size = sizeof last;
  ::sysctlbyname("net.inet.ip.portrange.last", &last, &size, nullptr, 0);
  return {static_cast<std::uint16_t>(first), static_cast<std::uint16_t>(last)};
}

std::uint64_t resident_bytes(pid_t pid) {
  proc_taskinfo facts{};
  const int got = ::proc_pidinfo(pid, PROC_PIDTASKINFO, 0, &facts, sizeof facts);
  return got == sizeof facts ? facts.pti_resident_size : 0;
}

std::size_t unread_by_peer(int connected_socket) {
  int count = 0;
  socklen_t size = sizeof count;
  return ::getsockopt(connected_socket, SOL_SOCKET, SO_NWRITE, &count, &size) == 0 ? static_cast<std::size_t>(count)
                                                                                   : 0;
}

namespace {

/// 0 when there is no such process.
std::uint64_t started_at(pid_t pid) noexcept {
  proc_bsdinfo facts{};
  if (::proc_pidinfo(pid, PROC_PIDTBSDINFO, 0, &facts, sizeof facts) != static_cast<int>(sizeof facts)) return 0;
  return facts.pbi_start_tvsec * 1'000'000 + facts.pbi_start_tvusec;
}

}  // namespace

Process::Process(pid_t pid) : pid_(pid), begun_(started_at(pid)) {}

bool Process::kill(int signal) const noexcept {
  return begun_ != 0 && started_at(pid_) == begun_ && ::kill(pid_, signal) == 0;
}

bool clone_file(const std::filesystem::path& from, const std::filesystem::path& to) noexcept {
  return ::clonefile(from.c_str(), to.c_str(), 0) == 0 && ::chmod(to.c_str(), 0600) == 0;
}

namespace {

/// A kqueue of our own, which is itself readable when an event is pending.
asio::awaitable<void> until_readable(UniqueFd queue) {
  asio::posix::stream_descriptor watched(co_await asio::this_coro::executor, queue.release());
  const error_code failure = co_await ready(watched, asio::posix::stream_descriptor::wait_read, POLLIN);
  if (failure) throw boost::system::system_error(failure);
}

}  // namespace

asio::awaitable<void> wait_until_gone(pid_t pid) {
  UniqueFd queue(::kqueue());
  if (!queue) throw io_error("cannot create a kernel queue", errno);
  struct kevent change{};
  EV_SET(&change, static_cast<uintptr_t>(pid), EVFILT_PROC, EV_ADD | EV_ONESHOT, NOTE_EXIT, 0, nullptr);
  if (::kevent(queue.get(), &change, 1, nullptr, 0, nullptr) != 0) {
    const int saved = errno;
    if (saved == ESRCH) co_return;
    throw io_error("cannot watch process " + std::to_string(pid), saved);
  }
  co_await until_readable(std::move(queue));
}

asio::awaitable<void> wait_readable(int fd) {
  // Asio would make the descriptor itself non-blocking.
  struct stat facts{};
  if (::fstat(fd, &facts) == 0 && S_ISREG(facts.st_mode)) co_return;  // at its end no event would come
  UniqueFd queue(::kqueue());
  if (!queue) throw io_error("cannot create a kernel queue", errno);
  struct kevent change{};
  EV_SET(&change, static_cast<uintptr_t>(fd), EVFILT_READ, EV_ADD, 0, 0, nullptr);
  if (::kevent(queue.get(), &change, 1, nullptr, 0, nullptr) != 0) co_return;  // what has no such events never waits
  co_await until_readable(std::move(queue));
}

asio::awaitable<void> wall_clock_set() {
  // IOKit tells of sleep and wake, but on a run loop of its own: a look every ten seconds costs less than that thread.
  // The clock to compare with has to stand still while the Mac sleeps. steady_clock is CLOCK_MONOTONIC_RAW there, which
  // does not: against it, a sleep would change nothing.
  using Difference = std::chrono::duration<double>;
  auto difference = [] {
    const std::chrono::nanoseconds awake(static_cast<std::int64_t>(::clock_gettime_nsec_np(CLOCK_UPTIME_RAW)));
    return Difference(std::chrono::system_clock::now().time_since_epoch()) - Difference(awake);
  };
  const Difference before = difference();
  do {
    co_await sleep_for(std::chrono::seconds(10));
  } while (std::abs((difference() - before).count()) < 0.1);
}

int seal_descriptors(const std::vector<int>& keep) noexcept {
  const int limit = ::getdtablesize();
  for (int fd = 3; fd < limit; ++fd) ::fcntl(fd, F_SETFD, FD_CLOEXEC);  // EBADF for holes is fine
  for (const int fd : keep)
    if (::fcntl(fd, F_SETFD, 0) != 0) return errno;
  return 0;
}

void avoid_huge_pages() noexcept {}

void return_freed_memory() noexcept {}

std::size_t max_socket_path() noexcept { return sizeof(sockaddr_un::sun_path) - 1; }

}  // namespace cl::platform
