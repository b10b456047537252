#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "src/base/async.hpp"
#include "src/base/file_change.hpp"

namespace cl {

/// Tells what changes in folders of this host and in everything below them, by what the system reports: inotify on
/// Linux (file_watch_linux.cpp), FSEvents on macOS (file_watch_darwin.cpp). Costs nothing while nothing changes.
/// Symbolic links are not followed: they are files. Owner's rule: await stop() before destruction.
///
/// It is large because Linux is asked for one folder after another: to find folders, to follow moves, and to look at
/// what a gap has hidden are one piece of bookkeeping over the same two maps.
class FileWatch {
 public:
  using WallClock = std::chrono::system_clock;
  struct Config {
    std::vector<std::filesystem::path> excluded;  ///< folders that are left out, with all below them
    /// What has changed, in order. After a gap in what the system reports, what has changed since by the files' times:
    /// then removed files show only as a change of their folder (FileChange::Kind::listing).
    std::function<void(std::vector<FileChange>)> on_changes;
    std::function<void()> on_status;  ///< told when status() has changed
    std::size_t most_folders = 0;     ///< watch no more than so many; 0 = half of what Linux lets one user watch, so
                                      ///< that the other programs of that user can
  };
  struct Status {
    std::size_t trees = 0;    ///< asked for
    std::size_t folders = 0;  ///< watched one by one (Linux only)
    std::string problem;      ///< why some of it is not watched; empty when all is
    std::string remedy;
    bool operator==(const Status&) const = default;
  };

  FileWatch(asio::any_io_executor executor, Config config);
  FileWatch(const FileWatch&) = delete;
  FileWatch& operator=(const FileWatch&) = delete;
  ~FileWatch();

  /// From now on these folders and no others. None is below another, and they contain no symbolic links.
  void set_trees(std::vector<std::filesystem::path> trees);
  Status status() const;
  /// Returns when every folder of the trees that were set is watched, or known not to be.
  asio::awaitable<void> caught_up();
  /// Tells, as after a gap, what has changed since.
  void look_for_changes_since(WallClock::time_point since);

  asio::awaitable<void> stop();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace cl
