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

/// Messages for the agent's service `files` (docs/agent.md has the format). Paths that are too long for it are left
/// out.
std::vector<std::string> encode_changes(std::span<const FileChange> changes);

/// Sends changes of files to the agent in the guest, which reports them to programs that watch files there. The service
/// is opened at the first change. Changes that come while the guest is away or asleep are sent when it is back. Owner's
/// rule: await stop() before destruction.
class FileEvents {
 public:
  using ReachGuest = std::function<asio::awaitable<std::shared_ptr<Guest>>()>;
  using WallClock = std::chrono::system_clock;
  struct Config {
    ReachGuest guest;
    std::function<void()> on_change;  ///< called when precision() or problem() has changed
    std::function<void(WallClock::time_point)>
        look_again;  ///< called with the time of the first change when more changed than was kept
    std::chrono::milliseconds reconnect = std::chrono::seconds(1);  ///< after a failure; grows to half a minute
    std::size_t most_waiting = 100'000;  ///< changes that are kept for a guest that is away or slow
  };

  FileEvents(asio::any_io_executor executor, Config config);

  /// `changes`, with the paths that the guest knows them by, in their order.
  void tell(std::vector<FileChange> changes);

  /// "exact" or "near", see docs/shares.md; empty as long as it is not known.
  const std::string& precision() const noexcept { return precision_; }
  /// Why the last changes, which wait, could not be sent to a guest that was reached; else empty.
  const std::string& problem() const noexcept { return problem_; }

  /// Returns when nothing is under way to the guest; nothing is sent from then on until resume().
  asio::awaitable<void> pause();
  void resume();

  asio::awaitable<void> stop() { return tasks_.stop(); }

 private:
  asio::awaitable<void> keep_telling();
  asio::awaitable<void> tell_all(Guest& guest);
  asio::awaitable<std::string> read_word(MessageStream& service);
  asio::awaitable<void> wait_for_changes();
  void set(std::string& into, std::string value);

  Config config_;
  ChangeList waiting_;
  std::vector<FileChange> sent_;  ///< not yet acknowledged
  WallClock::time_point since_;   ///< all that changed before was sent or waits
  bool lost_ = false;             ///< more changed than was kept
  bool reached_ = false;
  bool exchanging_ = false;
  bool paused_ = false;
  std::string precision_, problem_;
  Notifier changed_;
  TaskGroup tasks_;
};

}  // namespace cl
