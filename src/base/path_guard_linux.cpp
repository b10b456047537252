#include <fcntl.h>
#include <linux/magic.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <set>
#include <span>
#include <string_view>

#include "src/base/path_guard.hpp"
#include "src/base/seccomp_filter_linux.hpp"
#include "src/base/text.hpp"
#include "src/base/unique_fd.hpp"

namespace cl {
namespace fs = std::filesystem;
namespace {

// Numbers of newer kernels and older headers.
constexpr long faccessat2_call = 439, fchmodat2_call = 452, openat2_call = 437, pidfd_open_call = 434;
constexpr unsigned long sync_wake_up = 0x40082104;  // SECCOMP_IOCTL_NOTIF_SET_FLAGS, of Linux 6.6

struct Failure {
  std::string what;
  int code;
};

void check(long result, const char* what) {
  if (result < 0) throw Failure{what, errno};
}

/// One path among a call's arguments, and what the call does to it.
struct PathArgument {
  int folder;  ///< the argument that is a descriptor of a folder; `here`: there is none
  int path;    ///< the argument that is the path; `none`: the descriptor itself is meant
  PathUse use;
  bool follows;  ///< a link at its end
  int flags;     ///< the argument with AT_SYMLINK_NOFOLLOW and the like; `none`: there is none
};
constexpr int here = -1, none = -1;

/// What a call is: open(2) with flags, or up to two paths.
struct Call {
  long number;
  int open_flags;  ///< the argument; `none`: it opens nothing
  std::array<PathArgument, 2> paths;
  int count;
};

constexpr Call one(long number, PathArgument path) { return {number, none, {path, path}, 1}; }
constexpr Call two(long number, PathArgument first, PathArgument second) { return {number, none, {first, second}, 2}; }
constexpr Call opening(long number, int folder, int path, int flags) {
  const PathArgument argument{folder, path, PathUse::read, true, none};
  return {number, flags, {argument, argument}, 1};
}

using enum PathUse;

/// A server's calls with paths. What is in no row has none, or is for what was opened already.
// clang-format off
constexpr auto calls = std::to_array<Call>({
    opening(SYS_openat, 0, 1, 2),
    one(SYS_newfstatat, {0, 1, look, true, 3}),
    one(SYS_statx, {0, 1, look, true, 2}),
    one(SYS_faccessat, {0, 1, look, true, none}),
    one(faccessat2_call, {0, 1, look, true, 3}),
    one(SYS_readlinkat, {0, 1, look, false, none}),
    one(SYS_statfs, {here, 0, look, true, none}),
    one(SYS_chdir, {here, 0, look, true, none}),
    one(SYS_getxattr, {here, 0, look, true, none}),
    one(SYS_lgetxattr, {here, 0, look, false, none}),
    one(SYS_listxattr, {here, 0, look, true, none}),
    one(SYS_llistxattr, {here, 0, look, false, none}),
    one(SYS_setxattr, {here, 0, write, true, none}),
    one(SYS_lsetxattr, {here, 0, write, false, none}),
    one(SYS_fsetxattr, {0, none, write, false, none}),
    one(SYS_removexattr, {here, 0, write, true, none}),
    one(SYS_lremovexattr, {here, 0, write, false, none}),
    one(SYS_fremovexattr, {0, none, write, false, none}),
    one(SYS_truncate, {here, 0, write, true, none}),
    one(SYS_utimensat, {0, 1, write, true, 3}),
    one(SYS_fchmod, {0, none, write, false, none}),
    one(SYS_fchmodat, {0, 1, write, true, none}),
    one(fchmodat2_call, {0, 1, write, true, 3}),
    one(SYS_fchown, {0, none, write, false, none}),
    one(SYS_fchownat, {0, 1, write, true, 4}),
    one(SYS_mkdirat, {0, 1, make_folder, false, none}),
    one(SYS_mknodat, {0, 1, make, false, none}),
    one(SYS_symlinkat, {1, 2, make, false, none}),
    one(SYS_unlinkat, {0, 1, PathUse::remove, false, none}),
    two(SYS_linkat, {0, 1, write, false, 4}, {2, 3, make, false, none}),
    two(SYS_renameat2, {0, 1, PathUse::remove, false, none}, {2, 3, make, false, none}),
#ifdef SYS_renameat
    two(SYS_renameat, {0, 1, PathUse::remove, false, none}, {2, 3, make, false, none}),
#endif
#if defined(__x86_64__)
    opening(SYS_open, here, 0, 1),
    one(SYS_creat, {here, 0, make, true, none}),
    one(SYS_stat, {here, 0, look, true, none}),
    one(SYS_lstat, {here, 0, look, false, none}),
    one(SYS_access, {here, 0, look, true, none}),
    one(SYS_readlink, {here, 0, look, false, none}),
    one(SYS_utime, {here, 0, write, true, none}),
    one(SYS_utimes, {here, 0, write, true, none}),
    one(SYS_futimesat, {0, 1, write, true, none}),
    one(SYS_chmod, {here, 0, write, true, none}),
    one(SYS_chown, {here, 0, write, true, none}),
    one(SYS_lchown, {here, 0, write, false, none}),
    one(SYS_mkdir, {here, 0, make_folder, false, none}),
    one(SYS_rmdir, {here, 0, PathUse::remove, false, none}),
    one(SYS_mknod, {here, 0, make, false, none}),
    one(SYS_symlink, {here, 1, make, false, none}),
    one(SYS_unlink, {here, 0, PathUse::remove, false, none}),
    two(SYS_link, {here, 0, write, false, none}, {here, 1, make, false, none}),
    two(SYS_rename, {here, 0, PathUse::remove, false, none}, {here, 1, make, false, none}),
#endif
});
// clang-format on

const Call* find_call(long number) {
  const auto found =
      std::find_if(calls.begin(), calls.end(), [number](const Call& call) { return call.number == number; });
  return found == calls.end() ? nullptr : &*found;
}

using seccomp::jump;
using seccomp::statement;

/// Has this process's calls with paths told to whoever has the descriptor that is returned.
int tell_calls() {
  std::vector<sock_filter> filter = seccomp::begin_filter();
  // Servers know the older call. io_uring could make every other one.
  seccomp::answer(filter, openat2_call, ENOSYS);
  seccomp::answer(filter, 425 /* io_uring_setup */, EPERM);
  for (const Call& call : calls) {
    const bool stats = call.number == SYS_statx || call.number == SYS_newfstatat;
    filter.push_back(jump(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(call.number), 0, stats ? 4 : 1));
    if (stats) {  // of what is open already: for each of a guest's requests
      const auto flags = static_cast<std::size_t>(call.paths[0].flags);
      filter.push_back(statement(BPF_LD | BPF_W | BPF_ABS, seccomp::place_of(flags)));
      filter.push_back(jump(BPF_JMP | BPF_JSET | BPF_K, AT_EMPTY_PATH, 0, 1));
      filter.push_back(statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    }
    filter.push_back(statement(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF));
  }
  filter.push_back(statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
  const long fd = ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
  check(fd, "have calls with paths told");
  return static_cast<int>(fd);
}

std::string link_of(const std::string& path) {
  std::array<char, PATH_MAX> space{};
  const ssize_t size = ::readlink(path.c_str(), space.data(), space.size());
  if (size < 0 || static_cast<std::size_t>(size) == space.size()) throw Failure{path, size < 0 ? errno : ENAMETOOLONG};
  return {space.data(), static_cast<std::size_t>(size)};
}

/// Reads a path of another process, which may lie right before memory that is not there.
std::string string_of(pid_t pid, std::uint64_t address) {
  constexpr std::size_t page = 4096;
  std::string text;
  std::array<char, page> space{};
  while (text.size() <= PATH_MAX) {
    iovec into{space.data(), page - address % page}, from{reinterpret_cast<void*>(address), page - address % page};
    const ssize_t got = ::process_vm_readv(pid, &into, 1, &from, 1, 0);
    if (got <= 0) throw Failure{"a path", got < 0 ? errno : EFAULT};
    const std::string_view piece(space.data(), static_cast<std::size_t>(got));
    const auto zero = piece.find('\0');
    text += piece.substr(0, zero);
    if (zero != std::string_view::npos) return text;
    address += static_cast<std::uint64_t>(got);
  }
  throw Failure{"a path", ENAMETOOLONG};
}

/// Answers for the calls of a server.
class Guard {
 public:
  Guard(GuardedPaths paths, int listener) : paths_(std::move(paths)), listener_(listener) {
    check(::syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes_), "ask for sizes");
    request_.resize(std::max<std::size_t>(sizes_.seccomp_notif, sizeof(seccomp_notif)));
    response_.resize(std::max<std::size_t>(sizes_.seccomp_notif_resp, sizeof(seccomp_notif_resp)));
    check(::stat(paths_.folder.c_str(), &folder_), "guard the folder");
    ::ioctl(listener_, sync_wake_up, 1UL);  // an older kernel takes a little longer
  }
  /// For one call that has been told.
  void answer();

 private:
  /// 0, or the error that the call gets.
  int judge(const seccomp_notif& told);
  std::string place_of(const seccomp_notif& told, const PathArgument& argument, bool follows);
  std::string named(pid_t pid, std::string path);
  std::string linked(pid_t pid, const std::string& link);
  std::string folder_of(const seccomp_notif& told, const PathArgument& argument) const;
  bool is_inside(pid_t pid);

  GuardedPaths paths_;
  int listener_;
  seccomp_notif_sizes sizes_{};
  std::vector<std::byte> request_, response_;
  struct stat folder_{};
  std::set<pid_t> inside_;  ///< threads for which the folder is the root
};

/// Where the kernel's name of a descriptor's folder is found.
std::string Guard::folder_of(const seccomp_notif& told, const PathArgument& argument) const {
  const std::string process = "/proc/" + std::to_string(told.pid);
  const int fd =
      argument.folder == here ? AT_FDCWD : static_cast<int>(told.data.args[static_cast<std::size_t>(argument.folder)]);
  return fd == AT_FDCWD ? process + "/cwd" : process + "/fd/" + std::to_string(fd);
}

/// Whether the server's root is the folder, as virtiofsd makes it. It never is again what it was before.
bool Guard::is_inside(pid_t pid) {
  if (inside_.contains(pid)) return true;
  struct stat root{}, ours{};
  if (::stat(("/proc/" + std::to_string(pid) + "/root").c_str(), &root) != 0) throw Failure{"its root", errno};
  const auto same = [](const struct stat& a, const struct stat& b) {
    return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
  };
  if (!same(root, folder_) || (::stat("/", &ours) == 0 && same(root, ours))) return false;
  inside_.insert(pid);
  return true;
}

/// A whole path as the server says it, seen from here.
std::string Guard::named(pid_t pid, std::string path) {
  if (!is_inside(pid)) return path;
  return path == "/" ? paths_.folder.string() : paths_.folder.string() + path;
}

/// Where a link in the server's /proc leads, seen from here. The kernel says it from the root of the mount name space
/// that it is in, which with chroot(2) is ours.
std::string Guard::linked(pid_t pid, const std::string& link) {
  std::string path = link_of(link);
  if (!path.starts_with('/')) return path;  // a pipe, a socket
  // Removed, or replaced, and open yet: what is in it is what it was.
  constexpr std::string_view removed = " (deleted)";
  if (path.ends_with(removed)) path.erase(path.size() - removed.size());
  const bool same = link_of("/proc/" + std::to_string(pid) + "/ns/mnt") == link_of("/proc/self/ns/mnt");
  return same ? path : named(pid, std::move(path));
}

std::string Guard::place_of(const seccomp_notif& told, const PathArgument& argument, bool follows) {
  const auto pid = static_cast<pid_t>(told.pid);
  const std::string folder = folder_of(told, argument);
  const std::uint64_t address = argument.path == none ? 0 : told.data.args[static_cast<std::size_t>(argument.path)];
  const std::string path = address == 0 ? "" : string_of(pid, address);
  if (path.empty()) return linked(pid, folder);
  // What is open already is opened or changed by its number in /proc/self/fd.
  struct statfs system{};
  const bool number = std::all_of(path.begin(), path.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (number && ::statfs(folder.c_str(), &system) == 0 && system.f_type == PROC_SUPER_MAGIC)
    return linked(pid, folder + "/" + path);
  std::string whole = path.starts_with('/') ? named(pid, path) : linked(pid, folder) + "/" + path;
  if (whole.starts_with("//")) whole.erase(0, 1);
  // Its own, not ours.
  constexpr std::string_view self = "/proc/self/";
  if (whole.starts_with(self)) whole.replace(0, self.size(), "/proc/" + std::to_string(told.pid) + "/");
  const bool plain = path.find('/') == std::string::npos && path != "." && path != "..";
  if (plain && !follows) return whole;
  const fs::path wanted(whole), name = wanted.filename();
  const bool by_name = !follows && !name.empty() && name != "." && name != "..";
  std::error_code ec;
  fs::path real = fs::weakly_canonical(by_name ? wanted.parent_path() : wanted, ec);
  if (ec) throw Failure{whole, ec.value()};
  if (by_name) real /= name;
  real = real.lexically_normal();
  if (!real.has_filename() && real.has_relative_path()) real = real.parent_path();
  return real.string();
}

int Guard::judge(const seccomp_notif& told) {
  const Call* call = find_call(told.data.nr);
  if (call == nullptr) return EPERM;
  try {
    for (int i = 0; i < call->count; ++i) {
      const PathArgument& argument = call->paths[static_cast<std::size_t>(i)];
      PathUse use = argument.use;
      bool follows = argument.follows;
      if (argument.flags != none) {
        const std::uint64_t flags = told.data.args[static_cast<std::size_t>(argument.flags)];
        follows = call->number == SYS_linkat ? (flags & AT_SYMLINK_FOLLOW) != 0 : (flags & AT_SYMLINK_NOFOLLOW) == 0;
      }
      bool nameless = false;
      if (call->open_flags != none) {
        const auto flags = static_cast<int>(told.data.args[static_cast<std::size_t>(call->open_flags)]);
        follows = (flags & O_NOFOLLOW) == 0 && (flags & (O_CREAT | O_EXCL)) != (O_CREAT | O_EXCL);
        nameless = (flags & O_TMPFILE) == O_TMPFILE;
        const bool writes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC) != 0;
        use = (flags & O_PATH) != 0 ? look : (flags & O_CREAT) != 0 ? make : writes ? write : read;
      }
      std::string place = place_of(told, argument, follows);
      if (nameless) place += "/ ";  // a new file in that folder
      if (!may_use(paths_, place, use)) return EACCES;
    }
  } catch (const Failure& failure) {
    return failure.code;
  }
  return 0;
}

void Guard::answer() {
  std::fill(request_.begin(), request_.end(), std::byte{0});
  std::fill(response_.begin(), response_.end(), std::byte{0});
  auto& told = *reinterpret_cast<seccomp_notif*>(request_.data());
  auto& reply = *reinterpret_cast<seccomp_notif_resp*>(response_.data());
  if (::ioctl(listener_, SECCOMP_IOCTL_NOTIF_RECV, &told) != 0) return;  // its thread is gone, or a signal came
  const int error = judge(told);
  // Only now is it sure that the number of the thread was not another's meanwhile.
  if (::ioctl(listener_, SECCOMP_IOCTL_NOTIF_ID_VALID, &told.id) != 0) return;
  reply.id = told.id;
  reply.error = -error;
  if (error == 0) reply.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
  ::ioctl(listener_, SECCOMP_IOCTL_NOTIF_SEND, &reply);
}

struct Order {
  GuardedPaths paths;
  std::optional<MoreIds> ids;
};

std::optional<IdRange> range_of(std::string_view text) {
  const auto colon = text.find(':');
  const auto first = whole_number<std::uint32_t>(text.substr(0, colon));
  const auto count = whole_number<std::uint32_t>(colon == std::string_view::npos ? "" : text.substr(colon + 1));
  if (!first || !count) return std::nullopt;
  return IdRange(*first, *count);
}

Order order_of(std::span<char*> words) {
  Order order;
  std::optional<IdRange> uids, gids;
  for (const std::string_view word : words) {
    const std::string_view value = word.substr(std::min<std::size_t>(2, word.size()));
    if (word.starts_with("f:")) order.paths.folder = value;
    if (word.starts_with("h:")) order.paths.hidden.emplace_back(value);
    if (word.starts_with("k:")) order.paths.kept.emplace_back(value);
    if (word.starts_with("u:")) uids = range_of(value);
    if (word.starts_with("g:")) gids = range_of(value);
  }
  if (uids && gids) order.ids = MoreIds{*uids, *gids};
  return order;
}

void send_descriptor(int socket, int fd) {
  char nothing = 0;
  iovec text{&nothing, 1};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof fd)> space{};
  msghdr message{};
  message.msg_iov = &text;
  message.msg_iovlen = 1;
  message.msg_control = space.data();
  message.msg_controllen = space.size();
  cmsghdr* head = CMSG_FIRSTHDR(&message);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(sizeof fd);
  std::memcpy(CMSG_DATA(head), &fd, sizeof fd);
  check(::sendmsg(socket, &message, 0), "send a descriptor");
}

/// Nothing when the sender ended without one; it has said why.
UniqueFd receive_descriptor(int socket) {
  char nothing = 0;
  iovec text{&nothing, 1};
  int fd = -1;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof fd)> space{};
  msghdr message{};
  message.msg_iov = &text;
  message.msg_iovlen = 1;
  message.msg_control = space.data();
  message.msg_controllen = space.size();
  const ssize_t got = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  const cmsghdr* head = got > 0 ? CMSG_FIRSTHDR(&message) : nullptr;
  if (head != nullptr && head->cmsg_type == SCM_RIGHTS) std::memcpy(&fd, CMSG_DATA(head), sizeof fd);
  return UniqueFd(fd);
}

/// newuidmap or newgidmap: the user is 0 there, and the further ids are 1 and up.
void map_ids(const char* program, pid_t pid, std::uint32_t own, const IdRange& more) {
  const std::array<std::string, 7> words{
      std::to_string(pid), "0", std::to_string(own), "1", "1", std::to_string(more.first), std::to_string(more.second)};
  std::vector<const char*> argv{program};
  for (const std::string& word : words) argv.push_back(word.c_str());
  argv.push_back(nullptr);
  const pid_t child = ::fork();
  check(child, "fork");
  if (child == 0) {
    ::execvp(program, const_cast<char* const*>(argv.data()));
    ::_exit(127);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  if (status != 0) throw Failure{std::string("give a server further ids by ") + program, EPERM};
}

/// The server's side: it waits for its ids, has its calls told, and becomes the program.
[[noreturn]] void become(const Order& order, int socket, pid_t guard, char** argv) {
  try {
    char word = 0;
    if (order.ids) {
      check(::unshare(CLONE_NEWUSER), "make a user name space");
      check(::write(socket, &word, 1), "tell of it");
      if (::read(socket, &word, 1) != 1) ::_exit(1);
      check(::setresgid(0, 0, 0), "be root there");
      check(::setresuid(0, 0, 0), "be root there");
    }
    check(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "give up new privileges");
    check(::prctl(PR_SET_PDEATHSIG, SIGKILL), "end with its guard");
    if (::getppid() != guard) ::_exit(1);
    const UniqueFd listener(tell_calls());
    send_descriptor(socket, listener.get());
    ::close(socket);
    ::fcntl(listener.get(), F_SETFD, FD_CLOEXEC);
    ::execv(argv[0], argv);
    throw Failure{std::string("run ") + argv[0], errno};
  } catch (const Failure& failure) {
    std::fprintf(stderr, "colima-like: cannot %s: %s\n", failure.what.c_str(), std::strerror(failure.code));
    ::_exit(1);
  }
}

/// The guard's side. Returns the program's exit code.
int watch_over(const Order& order, int socket, pid_t child) {
  if (order.ids) {
    char word = 0;
    if (::read(socket, &word, 1) != 1) return 1;
    map_ids("newuidmap", child, ::geteuid(), order.ids->uids);
    map_ids("newgidmap", child, ::getegid(), order.ids->gids);
    check(::write(socket, &word, 1), "tell of the ids");
  }
  const UniqueFd received = receive_descriptor(socket);
  if (!received) return 1;
  // Whatever the server has open is its own: its lock tells that it lives.
  constexpr int listener = 3;
  if (received.get() != listener) check(::dup2(received.get(), listener), "keep a descriptor");
  check(::syscall(SYS_close_range, listener + 1, ~0U, 0), "close descriptors");
  const UniqueFd process(static_cast<int>(::syscall(pidfd_open_call, child, 0)));
  check(process.get(), "watch a process");
  Guard guard(order.paths, listener);
  // The server's end interrupts a wait for a call that was withdrawn.
  struct sigaction interrupt{};
  interrupt.sa_handler = [](int) {};
  check(::sigaction(SIGCHLD, &interrupt, nullptr), "watch a process");
  std::array<pollfd, 2> waits{pollfd{listener, POLLIN, 0}, {process.get(), POLLIN, 0}};
  for (;;) {
    for (pollfd& one : waits) one.revents = 0;
    if (::poll(waits.data(), waits.size(), -1) < 0 && errno != EINTR) return 1;
    if ((waits[0].revents & POLLIN) != 0) guard.answer();
    if (waits[1].revents == 0 && (waits[0].revents & POLLHUP) == 0) continue;
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
}

}  // namespace

std::string why_no_path_guard() {
  seccomp_notif_sizes sizes{};
  if (::syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) != 0)
    return "the kernel does not tell of a program's calls (seccomp of Linux 5.5)";
  int scope =
      0;  // of Yama (proc(5)): from 2 on no program reads the paths in the memory of its child, from 3 on root neither
  std::ifstream("/proc/sys/kernel/yama/ptrace_scope") >> scope;
  return why_no_path_guard(scope, ::geteuid() == 0);
}

std::vector<std::string> guarded(const fs::path& program, const GuardedPaths& paths,
                                 const std::vector<std::string>& argv, const std::optional<MoreIds>& ids) {
  std::vector<std::string> words{program.string(), "confine", "paths", "f:" + paths.folder.string()};
  for (const fs::path& path : paths.hidden) words.push_back("h:" + path.string());
  for (const fs::path& path : paths.kept) words.push_back("k:" + path.string());
  const auto range = [](const IdRange& one) { return std::to_string(one.first) + ":" + std::to_string(one.second); };
  if (ids) words.insert(words.end(), {"u:" + range(ids->uids), "g:" + range(ids->gids)});
  words.emplace_back("--");
  words.insert(words.end(), argv.begin(), argv.end());
  return words;
}

int run_guarded(int argc, char** argv) {
  int at = 3;
  while (at < argc && std::strcmp(argv[at], "--") != 0) ++at;
  if (at + 1 >= argc) return 2;
  const Order order = order_of(std::span(argv + 3, static_cast<std::size_t>(at - 3)));
  if (!order.paths.folder.is_absolute()) return 2;
  try {
    std::error_code gone;
    if (!fs::is_directory(order.paths.folder, gone))
      throw Failure{"guard " + order.paths.folder.string(), gone ? gone.value() : ENOTDIR};
    std::array<int, 2> ends{};
    check(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()), "make a socket");
    const pid_t self = ::getpid();
    const pid_t child = ::fork();
    check(child, "fork");
    if (child == 0) {
      ::close(ends[0]);
      become(order, ends[1], self, argv + at + 1);
    }
    ::close(ends[1]);
    return watch_over(order, ends[0], child);
  } catch (const Failure& failure) {
    std::fprintf(stderr, "colima-like: cannot %s: %s\n", failure.what.c_str(), std::strerror(failure.code));
  }
  return 1;  // and its child ends with it
}

}  // namespace cl
