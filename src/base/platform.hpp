#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "src/base/async.hpp"

/// What Linux and macOS do differently, in one place: platform_linux.cpp and platform_darwin.cpp.
namespace cl::platform {

/// Physical memory in bytes.
std::uint64_t memory_bytes();
/// The running program's own file.
std::filesystem::path executable();
/// Kernel release, e.g. "6.12.9-amd64" (part of the key under which probe results are cached).
std::string kernel_release();
/// Changes with every boot of the host.
std::string boot_id();

/// The process that called listen() on the far end of a connected unix socket; 0 when unknown.
pid_t peer_pid(int connected_socket);

/// Returns once the process is gone, whether or not it is our child; at once if it already is.
/// Does not reap.
asio::awaitable<void> wait_until_gone(pid_t pid);

/// In a forked child before exec: every descriptor from 3 up is closed at exec but those in `keep`.
/// Async-signal-safe. Returns 0 or an errno.
int seal_descriptors(const std::vector<int>& keep) noexcept;

/// Longest path a unix socket may have, without the final NUL: 107 on Linux, 103 on macOS.
std::size_t max_socket_path() noexcept;

}  // namespace cl::platform
