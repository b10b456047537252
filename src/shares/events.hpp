#pragma once

#include <boost/json/array.hpp>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "src/base/file_watch.hpp"
#include "src/base/task_group.hpp"
#include "src/shares/file_events.hpp"

namespace cl {

/// A folder of this host and where the guest has it.
struct SharedTree {
  std::filesystem::path host, guest;
  std::vector<std::filesystem::path> hidden{};  ///< of the host, in that folder: the guest is told nothing of these
  bool operator==(const SharedTree&) const = default;
};

/// The guest's paths that containers of the engine's list bind-mount.
std::vector<std::string> bound_paths(const boost::json::array& containers);

/// Where `guest_path` is on this host, with links resolved; nothing when it is in no share or does not exist. Throws
/// Error{timed_out} when it does not answer.
asio::awaitable<std::optional<std::filesystem::path>> host_path(std::string guest_path, std::vector<SharedTree> shares);
/// Where the guest has `host_path`: one path for each share that contains it and does not hide it. The shares' host
/// folders have no links.
std::vector<std::string> guest_paths(const std::string& host_path, const std::vector<SharedTree>& shares);
/// Sorted, and without folders that are below others.
std::vector<std::filesystem::path> outermost(std::vector<std::filesystem::path> folders);

/// Reports changes of shared folders on this host to programs in containers that watch files there. Only what running
/// containers mount is watched. Owner's rule: await stop() before destruction.
class ShareEvents {
 public:
  struct Config {
    FileEvents::ReachGuest guest;
    std::vector<std::filesystem::path> excluded;  ///< folders of this host that are not watched
    std::function<void()> on_change;              ///< called when report() has changed
  };
  struct Report {
    std::size_t folders = 0;  ///< that containers mount and that are watched for them
    std::string precision;    ///< see FileEvents; empty before the first change
    std::string problem, remedy;
    bool operator==(const Report&) const = default;
  };

  ShareEvents(asio::any_io_executor executor, Config config);

  /// What the guest has of this host; none = nothing is watched.
  void set_shares(std::vector<SharedTree> shares);
  /// The engine's list of running containers.
  void set_containers(const boost::json::array& containers);
  const Report& report() const noexcept { return report_; }

  /// Before the machine is suspended. Changes are still noticed, and wait.
  asio::awaitable<void> pause();
  /// It runs again. May be called when it was not paused.
  void resume() { events_.resume(); }

  asio::awaitable<void> stop();

 private:
  asio::awaitable<void> keep_up();
  asio::awaitable<void> update();
  void take(std::vector<FileChange> changes);
  void tell_report();

  Config config_;
  std::vector<SharedTree> wanted_;  ///< as they were set
  std::vector<SharedTree> shares_;  ///< the same, with links resolved
  std::vector<std::string> bound_;
  bool stale_ = false;  ///< one of these was set, so what is watched may have to change
  std::vector<std::string> watched_bound_;
  std::size_t folders_ = 0;
  std::optional<Error> unanswered_;  ///< a path that does not answer
  Report report_;
  FileEvents events_;
  FileWatch watch_;
  Notifier changed_;
  TaskGroup tasks_;
};

}  // namespace cl
