#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "profiles/paths.hpp"
#include "profiles/state.hpp"
#include "src/base/async.hpp"
#include "src/base/file_lock.hpp"
#include "src/base/task_group.hpp"
#include "src/base/unique_fd.hpp"

namespace cl {

/// What the daemon knows of its profile. The truth is in memory; state.json is a copy for `status` and for the next
/// daemon. A change of the truth never fails. Its copy is written by another thread, all changes of one moment at once,
/// and when that fails (a full disk) again until it works.
class StateStore {
 public:
  struct Timings {
    std::chrono::milliseconds first_retry{500};
    std::chrono::milliseconds longest_retry{std::chrono::seconds(10)};
  };
  /// Writes state.json; a test puts another in.
  using Write = std::function<void(const ProfilePaths&, const State&)>;

  /// `proof` says that we are the only writer. Reads what is there; throws Error{io} for a file that cannot be read.
  StateStore(asio::any_io_executor executor, const FileLock& proof, ProfilePaths paths);
  StateStore(asio::any_io_executor executor, ProfilePaths paths, Write write, Timings timings);
  StateStore(const StateStore&) = delete;
  StateStore& operator=(const StateStore&) = delete;

  /// Begins to write. Nothing that was spawned refers to a store that was never started.
  void start() { tasks_.spawn("state", keep_written()); }

  const State& state() const noexcept { return state_; }
  /// For changes; they are written soon after. Not to be kept over a co_await.
  State& edit() noexcept;
  /// Returns after the next change: look at it again.
  asio::awaitable<void> edited() { co_await edited_.wait(); }

  /// Returns when all changes made so far are on disk. Throws why they are not, after one new try.
  asio::awaitable<void> flush();
  /// The same for who goes on in any case: waits `limit` at most and throws nothing but a cancellation.
  asio::awaitable<void> try_flush(std::chrono::milliseconds limit);

  /// Why the file is older than the truth; empty while it is not. Other processes see it by the lock on run/: see
  /// observe() in profiles/state.hpp.
  const std::string& unsaved() const noexcept { return unsaved_; }
  /// The truth is here alone, and will be on disk when that can be written: not in a profile that was removed.
  bool is_behind() const noexcept;
  /// Called after each try to write.
  void on_tried(std::function<void()> callback) { on_tried_ = std::move(callback); }

  /// Ends the writing, for good; what is not written by then is given up. Before destruction.
  asio::awaitable<void> stop();

 private:
  asio::awaitable<void> keep_written();
  asio::awaitable<std::string> write_once();
  asio::awaitable<void> wait_for_retry(std::chrono::milliseconds pause);
  void mark(const std::string& failure) noexcept;

  ProfilePaths paths_;
  Write write_;
  Timings timings_;
  State state_;
  std::uint64_t edits_ = 0;    ///< changes so far
  std::uint64_t written_ = 0;  ///< of them on disk
  std::uint64_t tries_ = 0;    ///< that have ended
  std::uint64_t tried_ = 0;    ///< changes that the last of them was to write
  std::string unsaved_;
  std::optional<Error> failure_;  ///< of the last try
  std::function<void()> on_tried_;
  UniqueFd mark_;                ///< locked while unsaved_
  std::uint64_t asked_for_ = 0;  ///< changes that flush() waits for: after a try without them comes one at once
  bool stopped_ = false;
  Notifier edited_, tried_once_;
  asio::steady_timer retry_;
  TaskGroup tasks_;
};

}  // namespace cl
