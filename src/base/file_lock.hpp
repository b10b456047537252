#pragma once

#include <filesystem>
#include <functional>
#include <optional>

#include "src/base/async.hpp"
#include "src/base/unique_fd.hpp"

namespace cl {

/// An exclusive kernel lock (flock) on a file. The kernel drops it when the last process that holds
/// the open file is gone, so it is never stale. Only its holder may delete the file.
///
/// Holding one proves something: functions that write a profile's files take it by reference, so
/// forgetting the lock does not compile. flock and not fcntl: it belongs to the open file, survives
/// fork and exec (a hypervisor that inherits fd() keeps it), and excludes a second open in this process.
class FileLock {
 public:
  /// Nothing when somebody else holds it. Creates the file (0600) if needed.
  static std::optional<FileLock> try_acquire(const std::filesystem::path& file);

  /// Whether anybody, this process included, holds the lock now. Never blocks, never creates the file.
  static bool is_held(const std::filesystem::path& file);

  int fd() const noexcept { return fd_.get(); }

 private:
  explicit FileLock(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

/// The lock, once nobody else holds it; `waits` is told once when somebody does.
asio::awaitable<FileLock> wait_for_lock(std::filesystem::path file, std::function<void()> waits);

}  // namespace cl
