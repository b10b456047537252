#include <fcntl.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <span>
#include <string_view>

#include "src/base/confine.hpp"
#include "src/base/error.hpp"
#include "src/base/path_guard.hpp"
#include "src/base/platform.hpp"
#include "src/base/seccomp_filter_linux.hpp"

#if defined(__SANITIZE_ADDRESS__)
#define COLIMA_LIKE_SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define COLIMA_LIKE_SANITIZED
#endif
#endif

// Landlock's numbers are those of linux/landlock.h of Linux 6.12, which older systems' headers lack in part; the system
// calls have the same numbers on every architecture.

namespace cl {
namespace fs = std::filesystem;
namespace {

constexpr long create_ruleset = 444, add_rule = 445, restrict_self = 446;
constexpr long least_abi = 3;  // the second can rename between folders, the third watches truncate(2)

constexpr std::uint64_t execute = 1 << 0, write_file = 1 << 1, read_file = 1 << 2, read_dir = 1 << 3,
                        make_char = 1 << 6, make_block = 1 << 11, truncate = 1 << 14, ioctl_dev = 1 << 15;
constexpr std::uint64_t rights_of_third_abi = (1 << 15) - 1;
constexpr std::uint64_t of_files = execute | write_file | read_file | truncate | ioctl_dev;

/// struct landlock_ruleset_attr. An older kernel takes a longer one whose unknown part is zero.
struct Ruleset {
  std::uint64_t files = 0, network = 0, scope = 0;
};
/// struct landlock_path_beneath_attr, which is packed.
struct [[gnu::packed]] PathBeneath {
  std::uint64_t rights;
  std::int32_t parent;
};
constexpr long path_beneath = 1;  // LANDLOCK_RULE_PATH_BENEATH

long landlock_abi() { return ::syscall(create_ruleset, nullptr, 0, 1 /* LANDLOCK_CREATE_RULESET_VERSION */); }

struct Failure {
  const char* what;
  int code;
};

void check(long result, const char* what) {
  if (result < 0) throw Failure{what, errno};
}

void allow(int ruleset, const char* path, std::uint64_t rights) {
  const UniqueFd fd(::open(path, O_PATH | O_CLOEXEC));
  if (!fd) {
    if (errno == ENOENT) return;  // this distribution has no such folder
    throw Failure{path, errno};
  }
  struct stat info{};
  check(::fstat(fd.get(), &info), path);
  if (!S_ISDIR(info.st_mode)) rights &= of_files;
  const PathBeneath rule{rights, fd.get()};
  check(::syscall(add_rule, ruleset, path_beneath, &rule, 0), path);
}

void restrict_files(const std::vector<std::string_view>& rules) {
  const long abi = landlock_abi();
  if (abi < least_abi) throw Failure{"confine by Landlock", ENOSYS};
  Ruleset handled;
  handled.files = rights_of_third_abi;
  if (abi >= 4) handled.network = 3;  // TCP: to bind and to connect
  if (abi >= 5) handled.files |= ioctl_dev;
  if (abi >= 6) handled.scope = 3;  // abstract unix sockets, signals
  const UniqueFd ruleset(static_cast<int>(::syscall(create_ruleset, &handled, sizeof handled, 0)));
  check(ruleset.get(), "make a Landlock ruleset");
  for (const std::string_view rule : rules) {
    const bool writes = rule.starts_with("w:");
    const std::uint64_t rights = writes ? handled.files & ~(make_char | make_block) : execute | read_file | read_dir;
    allow(ruleset.get(), rule.substr(2).data(), rights);
  }
  check(::syscall(restrict_self, ruleset.get(), 0), "confine by Landlock");
}

/// What a server of files with any owner needs.
constexpr std::uint32_t capabilities_of_servers = 1U << CAP_CHOWN | 1U << CAP_DAC_OVERRIDE | 1U << CAP_FOWNER;

/// Root keeps these. What it cannot get back by executing a program either.
void drop_capabilities(std::uint32_t kept) {
  if (::geteuid() != 0) return;
  for (unsigned long one = 0; ::prctl(PR_CAPBSET_READ, one) >= 0; ++one)
    if (one > 31 || (kept >> one & 1) == 0) ::prctl(PR_CAPBSET_DROP, one);  // fails where we never had it
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, 2> now{}, wanted{};
  check(::syscall(SYS_capget, &header, now.data()), "read the capabilities");
  wanted[0].effective = wanted[0].permitted = wanted[0].inheritable = now[0].permitted & kept;
  check(::syscall(SYS_capset, &header, wanted.data()), "drop capabilities");
}

using seccomp::allow_when;
using seccomp::answer;
using seccomp::jump;
using seccomp::place_of;
using seccomp::statement;

constexpr std::uint32_t new_name_spaces = 0x7e020080;  // CLONE_NEW*, all eight

/// What no server of folders does, and what could undo the rest.
// clang-format off
constexpr auto denied = std::to_array<long>({
    SYS_socket, SYS_socketpair, SYS_connect, SYS_bind, SYS_listen,
    SYS_kill, SYS_tkill, SYS_rt_sigqueueinfo, SYS_rt_tgsigqueueinfo, 424 /* pidfd_send_signal */, SYS_setpriority,
    SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, SYS_shmget, SYS_shmat, SYS_shmctl, SYS_semget, SYS_semctl,
    SYS_msgget, SYS_msgrcv, SYS_msgctl,
    SYS_mount, SYS_umount2, SYS_pivot_root, SYS_setns, SYS_unshare, 428 /* open_tree */, 429 /* move_mount */,
    430 /* fsopen */, 431 /* fsconfig */, 432 /* fsmount */, 433 /* fspick */, 442 /* mount_setattr */,
    SYS_open_by_handle_at, SYS_bpf, SYS_perf_event_open, SYS_userfaultfd, 425 /* io_uring_setup */,
    SYS_add_key, SYS_keyctl, SYS_request_key, SYS_kexec_load, SYS_init_module, SYS_finit_module, SYS_delete_module,
    SYS_reboot, SYS_swapon, SYS_swapoff, SYS_settimeofday, SYS_clock_settime});
// clang-format on

/// Refuses `call` unless its first argument is `wanted`.
void only_with(std::vector<sock_filter>& filter, long call, std::uint32_t wanted) {
  filter.push_back(jump(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(call), 0, 4));
  filter.push_back(statement(BPF_LD | BPF_W | BPF_ABS, place_of(0)));
  filter.push_back(jump(BPF_JMP | BPF_JEQ | BPF_K, wanted, 0, 1));
  filter.push_back(statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  filter.push_back(statement(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM));
}

/// Refuses `call` when its mode, in this argument, has one of these bits, or makes a device.
void add_mode_check(std::vector<sock_filter>& filter, long call, unsigned argument, std::uint32_t bits) {
  const std::uint32_t at = place_of(argument);
  filter.push_back(jump(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(call), 0, 7));
  filter.push_back(statement(BPF_LD | BPF_W | BPF_ABS, at));
  filter.push_back(jump(BPF_JMP | BPF_JSET | BPF_K, bits, 4, 0));
  filter.push_back(statement(BPF_ALU | BPF_AND | BPF_K, S_IFMT));
  filter.push_back(jump(BPF_JMP | BPF_JEQ | BPF_K, S_IFCHR, 2, 0));
  filter.push_back(jump(BPF_JMP | BPF_JEQ | BPF_K, S_IFBLK, 1, 0));
  filter.push_back(statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  filter.push_back(statement(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM));
}

/// `own` is the only process that it may send signals to; 0: name spaces see to that.
std::vector<sock_filter> filter_of(std::span<const long> refused, pid_t own) {
  std::vector<sock_filter> filter = seccomp::begin_filter();
  for (const long call : refused) answer(filter, call, EPERM);
  // Its arguments lie in memory, where no filter sees them; virtiofsd knows the older call.
  answer(filter, 437 /* openat2 */, ENOSYS);
  if (!refused.empty()) {
    answer(filter, 435 /* clone3 */, ENOSYS);  // likewise; the C library knows the older one
    filter.push_back(jump(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 4));
    filter.push_back(statement(BPF_LD | BPF_W | BPF_ABS, place_of(0)));
    filter.push_back(jump(BPF_JMP | BPF_JSET | BPF_K, new_name_spaces, 1, 0));
    filter.push_back(statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    filter.push_back(statement(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM));
    only_with(filter, SYS_prlimit64, 0);  // of itself
    if (own != 0) only_with(filter, SYS_tgkill, static_cast<std::uint32_t>(own));
  }
  // A folder's set-group-id bit is useful, and comes by chmod alone.
  constexpr std::uint32_t run_as_owner = S_ISUID, run_as_other = S_ISUID | S_ISGID;
  add_mode_check(filter, SYS_fchmod, 1, run_as_owner);
  add_mode_check(filter, SYS_fchmodat, 2, run_as_owner);
  add_mode_check(filter, 452 /* fchmodat2 */, 2, run_as_owner);
  add_mode_check(filter, SYS_mknodat, 2, run_as_other);
  add_mode_check(filter, SYS_openat, 3, run_as_other);
#if defined(__x86_64__)
  add_mode_check(filter, SYS_chmod, 1, run_as_owner);
  add_mode_check(filter, SYS_mknod, 1, run_as_other);
  add_mode_check(filter, SYS_open, 2, run_as_other);
  add_mode_check(filter, SYS_creat, 1, run_as_other);
#endif
  filter.push_back(statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  return filter;
}

void install(std::vector<sock_filter> filter) {
  sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
  check(::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), "restrict system calls");
}

void restrict_calls(std::span<const long> refused) { install(filter_of(refused, ::getpid())); }

/// What a loop needs that works with the descriptors which it has: bytes, waiting, memory, time, its own end.
// clang-format off
constexpr auto of_a_loop = std::to_array<long>({
    SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_recvfrom, SYS_recvmsg, SYS_sendto, SYS_sendmsg,
    SYS_getsockname, SYS_getpeername, SYS_getsockopt, SYS_setsockopt, SYS_shutdown, SYS_close,
    SYS_epoll_ctl, SYS_epoll_pwait, SYS_ppoll, SYS_timerfd_settime, SYS_fstat,
    SYS_munmap, SYS_mremap, SYS_madvise, SYS_brk, SYS_futex,
    SYS_clock_gettime, SYS_clock_nanosleep, SYS_nanosleep, SYS_gettimeofday, SYS_getrandom,
    SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_sigaltstack, SYS_restart_syscall,
    SYS_getpid, SYS_gettid, SYS_sched_yield, SYS_exit, SYS_exit_group,
#if defined(__x86_64__)
    SYS_epoll_wait, SYS_poll,
#endif
#ifdef COLIMA_LIKE_SANITIZED  // UndefinedBehaviorSanitizer asks a pipe whether memory can be read
    SYS_pipe2,
#if defined(__x86_64__)
    SYS_pipe,
#endif
#endif
});
// clang-format on

/// Anything else is refused. A file "is not there", which every library can live with.
std::vector<sock_filter> filter_of_loop() {
  std::vector<sock_filter> filter = seccomp::begin_filter();
  for (const long call : of_a_loop) answer(filter, call, 0);
  allow_when(filter, SYS_ioctl, 1, {FIONBIO, FIONREAD, TIOCOUTQ});
  allow_when(filter, SYS_fcntl, 1, {F_GETFD, F_SETFD, F_GETFL, F_SETFL});
  allow_when(filter, SYS_mmap, 2, {PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE});
  allow_when(filter, SYS_mprotect, 2, {PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE});
  const auto own = static_cast<std::uint32_t>(::getpid());
  allow_when(filter, SYS_tgkill, 0, {own});  // abort()
  allow_when(filter, SYS_tkill, 0, {own});   // musl's
  answer(filter, SYS_openat, ENOENT);
#if defined(__x86_64__)
  answer(filter, SYS_open, ENOENT);
#endif
  filter.push_back(statement(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM));
  return filter;
}

/// Memory of the process's own, in bytes. AddressSanitizer reserves more than there is.
void limit_memory([[maybe_unused]] std::size_t most) {
#ifndef COLIMA_LIKE_SANITIZED
  const rlimit limit{most, most};
  check(::setrlimit(RLIMIT_DATA, &limit), "limit its memory");
#endif
}

}  // namespace

void seal_process(std::size_t most_memory) {
  try {
    constexpr rlimit nothing{0, 0};
    for (const auto resource : {RLIMIT_CORE, RLIMIT_FSIZE, RLIMIT_NPROC, RLIMIT_MEMLOCK})
      check(::setrlimit(resource, &nothing), "limit its resources");
    limit_memory(most_memory);
    check(::prctl(PR_SET_PDEATHSIG, SIGKILL), "end with its parent");
    check(::prctl(PR_SET_DUMPABLE, 0), "hide its memory");
    check(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "give up new privileges");
    if (landlock_abi() >= least_abi) restrict_files({});  // the filter below leaves no call for files in any case
    drop_capabilities(0);
    install(filter_of_loop());
  } catch (const Failure& failure) {
    throw Error(Errc::host_requirement, "the process that speaks SSH cannot be confined")
        .because("it cannot " + std::string(failure.what) + ": " + std::strerror(failure.code));
  }
}

std::string why_no_confinement() {
  return landlock_abi() >= least_abi ? "" : "there is no Landlock of Linux 6.2 or newer";
}

fs::path confining_program() { return platform::running_program(); }

std::vector<std::string> confined(const fs::path& program, const Confinement& limits,
                                  const std::vector<std::string>& argv) {
  std::vector<std::string> words{program.string(), "confine"};
  for (const fs::path& path : limits.read) words.push_back("r:" + path.string());
  for (const fs::path& path : limits.write) words.push_back("w:" + path.string());
  words.emplace_back("--");
  words.insert(words.end(), argv.begin(), argv.end());
  return words;
}

std::vector<std::string> without_setuid(const fs::path& program, const std::vector<std::string>& argv) {
  std::vector<std::string> words{program.string(), "confine", "modes", "--"};
  words.insert(words.end(), argv.begin(), argv.end());
  return words;
}

UniqueFd call_filter() {
  const std::vector<sock_filter> filter = filter_of(denied, 0);
  const std::size_t size = filter.size() * sizeof(sock_filter);
  UniqueFd fd(::memfd_create("calls", MFD_CLOEXEC));
  const bool written = fd && ::pwrite(fd.get(), filter.data(), size, 0) == static_cast<ssize_t>(size);
  if (!written) throw io_error("cannot make a filter of system calls", errno);
  return fd;
}

std::vector<fs::path> system_libraries() {
  return {"/usr",
          "/lib",
          "/lib64",
          "/etc/ld.so.cache",
          "/etc/passwd",
          "/etc/group",
          "/etc/nsswitch.conf",
          "/var/lib/sss/mc",
          "/nix/store",
          "/gnu/store"};
}

int run_confined(int argc, char** argv) {
  if (std::strcmp(argv[2], "paths") == 0) return run_guarded(argc, argv);
  std::vector<std::string_view> rules;
  int at = 2;
  for (; at < argc && std::strcmp(argv[at], "--") != 0; ++at) rules.emplace_back(argv[at]);
  if (++at >= argc) return 2;
  try {
    check(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "give up new privileges");
    if (rules == std::vector<std::string_view>{"modes"}) {
      restrict_calls({});
    } else {
      restrict_files(rules);
      drop_capabilities(capabilities_of_servers);
      restrict_calls(denied);
    }
    // What the user's shell had in its environment is nobody's business there.
    char path[] = "PATH=/usr/local/bin:/usr/bin:/bin", locale[] = "LC_ALL=C.UTF-8";
    char* const environment[] = {path, locale, nullptr};
    ::execve(argv[at], argv + at, environment);
    throw Failure{argv[at], errno};
  } catch (const Failure& failure) {
    std::fprintf(stderr, "colima-like: cannot %s: %s\n", failure.what, std::strerror(failure.code));
    return 1;
  }
}

}  // namespace cl
