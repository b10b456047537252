#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <future>
#include <memory>
#include <type_traits>
#include <utility>

#include "src/base/async.hpp"

namespace cl {

/// Whose files a call touches. A path of the user's may lead to a network or FUSE mount whose server is gone, and a
/// call on it then never returns.
enum class Files { ours, users };

/// Threads for calls that may block: each call has one to itself, so a call that hangs holds up no other one. A thread
/// starts when none is idle and ends when it was idle for a while. The threads are detached: nobody waits for a call
/// that hangs, the end of the process included.
class BlockingThreads {
 public:
  struct Limits {
    std::size_t threads = 8;
    std::size_t users = 6;  ///< of them for Files::users: hung mounts leave the others to our own files
    std::chrono::milliseconds idle{5'000};
    std::chrono::milliseconds turn{10'000};  ///< how long a call waits for a thread while all of them are busy
  };
  explicit BlockingThreads(Limits limits);

  /// The ones of the process.
  static BlockingThreads& shared();

  /// See blocking() below.
  template <class Work>
  asio::awaitable<std::invoke_result_t<Work&>> run(Files files, Work work) {
    std::packaged_task<std::invoke_result_t<Work&>()> task(std::move(work));
    auto result = task.get_future();
    std::packaged_task<void()> job([task = std::move(task)]() mutable { task(); });
    co_await perform(files, std::move(job));
    co_return result.get();
  }

  /// Threads that there are now: busy, hung or idle.
  std::size_t count() const;

 private:
  struct State;  // shared with the threads, which may outlive this
  asio::awaitable<void> perform(Files files, std::packaged_task<void()> job);

  std::shared_ptr<State> state_;
};

/// Runs `work()` on another thread; returns its value, or throws its exception, on the caller's executor. For calls
/// that touch the disk: the daemon's one thread serves sockets meanwhile.
///
/// `work` owns what it uses and touches nothing that the caller's thread may touch meanwhile. Cancelling the caller
/// ends the wait at once: work that has begun goes on without anybody who waits for it, work that has not is dropped.
/// Throws Error{timed_out} when no thread becomes free, since all of them hang.
template <class Work>
asio::awaitable<std::invoke_result_t<Work&>> blocking(Files files, Work work) {
  return BlockingThreads::shared().run(files, std::move(work));
}

/// The same for files of our own.
template <class Work>
asio::awaitable<std::invoke_result_t<Work&>> blocking(Work work) {
  return blocking(Files::ours, std::move(work));
}

/// A look at a path, from its begin until its call has returned.
class Look {
 public:
  /// Throws Error{timed_out} while an earlier one of this path hangs.
  explicit Look(const std::filesystem::path& path);
  Look(const Look&) = delete;
  Look& operator=(const Look&) = delete;
  ~Look();

  /// Nobody waits for it any more, since it took longer than `limit`. The error that says so.
  Error give_up(std::chrono::milliseconds limit);

 private:
  std::string path_;
  bool hangs_ = false;
};

constexpr std::chrono::seconds look_limit{5};

/// Calls `work`, which looks at one path of the user's, as blocking() does. Throws Error{timed_out} that names the path
/// when that takes too long; as long as the call hangs, further ones throw at once instead of taking one more thread.
template <class Work>
asio::awaitable<std::invoke_result_t<Work&>> look_at(std::filesystem::path path, Work work,
                                                     std::chrono::milliseconds limit = look_limit) {
  const auto look = std::make_shared<Look>(path);
  auto held = [look, work = std::move(work)]() mutable { return work(); };
  try {
    co_return co_await with_timeout(limit, "looking", blocking(Files::users, std::move(held)));
  } catch (const Error& error) {
    if (error.code() != Errc::timed_out) throw;
    throw look->give_up(limit);
  }
}

}  // namespace cl
