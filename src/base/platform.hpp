#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "src/base/async.hpp"
#include "src/base/unique_fd.hpp"

/// What Linux and macOS do differently, in one place: platform_linux.cpp and platform_darwin.cpp.
namespace cl::platform {

/// Physical memory in bytes.
std::uint64_t memory_bytes();
/// The running program's own file.
std::filesystem::path executable();
/// A path to execute it by again: on Linux it leads to the very program, also after its file was replaced.
std::filesystem::path running_program();
/// Kernel release, e.g. "6.12.9-amd64" (part of the key under which probe results are cached).
std::string kernel_release();
/// The release of macOS, "15.6"; empty elsewhere.
std::string macos_version();
/// Changes with every boot of the host.
std::string boot_id();

/// The process that called listen() on the far end of a connected unix socket; 0 when unknown.
pid_t peer_pid(int connected_socket);

/// Physical memory that a process takes; 0 when the system does not tell.
std::uint64_t resident_bytes(pid_t pid);

/// The process, but this one, that holds the lock (flock) of a file, if only by having inherited it; 0 when there is
/// none, or none that we may look into. Who merely has the file open, such as a backup, does not count on Linux.
/// `likely` is asked first. It looks into every process of ours, some 10 ms: see blocking.hpp.
pid_t lock_holder(const std::filesystem::path& file, pid_t likely = 0);

/// Bytes sent into a connected unix socket that its far end has not read yet; 0 when the system does not tell.
std::size_t unread_by_peer(int connected_socket);

/// The first and the last port that this host takes by itself, for the near end of its own connections.
std::pair<std::uint16_t, std::uint16_t> connection_ports();

/// One process, and no later one that got its number.
class Process {
 public:
  /// It must be alive.
  explicit Process(pid_t pid);
  pid_t pid() const noexcept { return pid_; }
  /// Sends a signal; false when the process is gone, or no longer the one that was meant.
  bool kill(int signal) const noexcept;

 private:
  pid_t pid_;
  UniqueFd fd_;                               ///< Linux: means the process itself
  [[maybe_unused]] std::uint64_t begun_ = 0;  ///< macOS: when it was started, in microseconds
};

/// Makes `to`, which must not exist, a copy of `from` that shares its blocks, in an instant; false where the file
/// system cannot.
bool clone_file(const std::filesystem::path& from, const std::filesystem::path& to) noexcept;

/// Returns once the process is gone, whether or not it is our child; at once if it already is.
/// Does not reap.
asio::awaitable<void> wait_until_gone(pid_t pid);

/// Returns once a read of `fd` would not wait: at once for what never waits (regular files, /dev/null). Its flags stay
/// as they are, since others may have the same open file: a terminal that we leave non-blocking breaks the shell's next
/// program.
asio::awaitable<void> wait_readable(int fd);

/// Returns when this host's wall clock was set, which includes the end of the host's sleep: its monotonic clock, and
/// with it every guest's, stood still.
asio::awaitable<void> wall_clock_set();

/// In a forked child before exec: every descriptor from 3 up is closed at exec but those in `keep`.
/// Async-signal-safe. Returns 0 or an errno.
int seal_descriptors(const std::vector<int>& keep) noexcept;

/// In a forked child before exec: the program gets no transparent huge pages. Async-signal-safe; does nothing where
/// there is no such thing.
void avoid_huge_pages() noexcept;

/// Large blocks go back to the system when they are freed, in a process that lives for weeks: glibc would raise the
/// size from which it does so with the first one, and keep what one suspend needed (0.9 MiB). Threads share one heap.
/// Does nothing elsewhere.
void return_freed_memory() noexcept;

/// Longest path a unix socket may have, without the final NUL: 107 on Linux, 103 on macOS.
std::size_t max_socket_path() noexcept;

}  // namespace cl::platform
