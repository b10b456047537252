#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "provision/guest.hpp"
#include "src/base/file_change.hpp"
#include "src/base/task_group.hpp"

namespace cl {

/// One frame for src/shares/file_events.pl, where the format is told. Paths that are too long for it are left out.
std::string encode_changes(std::span<const FileChange> changes);

/// One frame from there.
struct HelperFrame {
  char kind = 0;
  std::string payload;
};
/// Takes the first frame off `unread`; nothing while it is not complete. Throws Error{protocol} when it is none.
std::optional<HelperFrame> take_helper_frame(std::string& unread);

/// Has the guest tell those who watch files there what has changed elsewhere, by a small program that runs in it from
/// the first change on (src/shares/file_events.pl). What comes while the guest is away or asleep is told when it is
/// back. Owner's rule: await stop() before destruction.
class FileEvents {
 public:
  using ReachGuest = std::function<asio::awaitable<std::shared_ptr<Guest>>()>;
  using WallClock = std::chrono::system_clock;
  struct Config {
    ReachGuest guest;
    std::function<void()> on_change;                        ///< told when precision() or problem() has changed
    std::function<void(WallClock::time_point)> look_again;  ///< told when more changed than was kept, and since when
    std::chrono::milliseconds reconnect = std::chrono::seconds(1);  ///< after a failure; grows to half a minute
    std::size_t most_waiting = 100'000;  ///< changes that are kept for a guest that is away or slow
  };

  FileEvents(asio::any_io_executor executor, Config config);

  /// `changes`, with the paths that the guest knows them by, in their order.
  void tell(std::vector<FileChange> changes);

  /// "exact" or "near", see src/shares/file_events.pl; empty as long as it is not known.
  const std::string& precision() const noexcept { return precision_; }
  /// Why a guest that was reached could not be told of the last changes, which wait; else empty.
  const std::string& problem() const noexcept { return problem_; }

  /// Returns when nothing is under way to the guest; nothing is sent from then on until resume().
  asio::awaitable<void> pause();
  void resume();

  asio::awaitable<void> stop() { return tasks_.stop(); }

 private:
  asio::awaitable<void> keep_telling();
  asio::awaitable<void> tell_all(Guest& guest);
  asio::awaitable<HelperFrame> read_frame(GuestProcess& helper, std::string& unread);
  asio::awaitable<void> wait_for_changes();
  void set(std::string& into, std::string value);

  Config config_;
  ChangeList waiting_;
  std::vector<FileChange> sent_;  ///< not yet acknowledged
  WallClock::time_point since_;   ///< all that changed before it was told or is waiting
  bool lost_ = false;             ///< more changed than was kept
  bool reached_ = false;
  bool exchanging_ = false;
  bool paused_ = false;
  std::string precision_, problem_;
  Notifier changed_;
  TaskGroup tasks_;
};

}  // namespace cl
