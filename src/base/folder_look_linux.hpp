#pragma once

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "src/base/blocking.hpp"
#include "src/base/unique_fd.hpp"

/// One look at one folder of the user's, for the file watch of Linux. It may block, so it runs on a thread for files
/// (blocking.hpp) and has nothing of the watch's own.
namespace cl {

/// What a look reports of what it finds in a folder.
enum class Report { nothing, everything, newer };

/// What a look needs.
struct FolderLook {
  using Time = std::chrono::system_clock::time_point;
  std::shared_ptr<const UniqueFd> inotify;  ///< a look that hangs may outlive the watch
  std::string path;
  bool add_watch = false;
  bool may_be_file = false;
  Report report = Report::nothing;
  Time since = {};
  std::optional<dev_t> parent_device;
  std::shared_ptr<Look> begun;  ///< ends when the look has returned
};

/// What it has found.
struct FolderFacts {
  int watch = -1;
  int failure = 0;  ///< why there is no watch
  bool file = false;
  bool missing = false;  ///< it was not there to be listed
  bool listed = false;
  bool newer = false;  ///< names were added or removed since
  dev_t device = 0;
  struct Entry {
    std::string name;
    bool directory = false;
    bool born = false;  ///< made since
  };
  std::vector<Entry> entries;  ///< all folders, and the files that are to be reported
};

/// First the watch, then the list: what changes later is an event.
FolderFacts look_through_folder(const FolderLook& look);

}  // namespace cl
