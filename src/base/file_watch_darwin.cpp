#include <CoreServices/CoreServices.h>
#include <dispatch/dispatch.h>
#include <sys/stat.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <map>
#include <set>
#include <utility>

#include "src/base/file_watch.hpp"
#include "src/base/log.hpp"
#include "src/base/task_group.hpp"

// FSEvents: the system watches whole trees by itself, so there is nothing to look through and no limit. It merges what
// happens to a file in a short time into one event that says all that may have happened; what is true then is asked of
// the file. Its callback runs on a queue of its own and hands everything over to our thread.

namespace cl {
namespace {

namespace fs = std::filesystem;
using Kind = FileChange::Kind;
using Time = FileWatch::WallClock::time_point;

constexpr CFTimeInterval latency = 0.005;  // seconds that the system may gather events
constexpr auto granularity = std::chrono::seconds(1);
constexpr auto latency_at_most = std::chrono::seconds(1);
constexpr std::size_t at_once = 2000;  // files that are looked at before others have a turn

/// As the system tells it.
struct RawEvent {
  std::string path;
  FSEventStreamEventFlags flags = 0;
};

Time to_time(const struct timespec& time) {
  return Time(std::chrono::duration_cast<Time::duration>(std::chrono::seconds(time.tv_sec) +
                                                         std::chrono::nanoseconds(time.tv_nsec)));
}

}  // namespace

struct FileWatch::State : std::enable_shared_from_this<FileWatch::State> {
  State(asio::any_io_executor on, Config with) : executor(on), config(std::move(with)), quiet(on), tasks(on) {
    for (const fs::path& path : config.excluded) excluded.insert(path.lexically_normal().string());
  }

  asio::any_io_executor executor;
  Config config;
  std::set<std::string> excluded;
  std::vector<std::string> trees;
  std::string problem, remedy;
  FSEventStreamRef stream = nullptr;
  dispatch_queue_t queue = dispatch_queue_create("colima-like.file-events", DISPATCH_QUEUE_SERIAL);
  std::size_t looking = 0;
  Time complete = WallClock::now();  ///< all that happened before it was told
  Notifier quiet;
  TaskGroup tasks;

  void open();
  void close();
  static void on_events(ConstFSEventStreamRef, void* self, std::size_t count, void* paths,
                        const FSEventStreamEventFlags* flags, const FSEventStreamEventId*);
  void take(const std::vector<RawEvent>& events);
  bool is_excluded(std::string path) const;
  asio::awaitable<void> look_for_changes(std::string tree, Time since);
};

void FileWatch::State::open() {
  if (trees.empty()) return;
  CFMutableArrayRef paths = CFArrayCreateMutable(nullptr, 0, &kCFTypeArrayCallBacks);
  for (const std::string& tree : trees) {
    CFStringRef path = CFStringCreateWithFileSystemRepresentation(nullptr, tree.c_str());
    if (path == nullptr) continue;
    CFArrayAppendValue(paths, path);
    CFRelease(path);
  }
  // Of the state by a weak pointer, which the stream owns: an event may come while we end.
  FSEventStreamContext context{};
  context.info = new std::weak_ptr<State>(weak_from_this());
  context.release = [](const void* weak) { delete static_cast<const std::weak_ptr<State>*>(weak); };
  stream = FSEventStreamCreate(
      nullptr, &on_events, &context, paths, kFSEventStreamEventIdSinceNow, latency,
      kFSEventStreamCreateFlagFileEvents | kFSEventStreamCreateFlagNoDefer | kFSEventStreamCreateFlagWatchRoot);
  CFRelease(paths);
  if (stream != nullptr) {
    FSEventStreamSetDispatchQueue(stream, queue);
    if (FSEventStreamStart(stream)) return;
    close();
  }
  problem = "this system reports no file events";
  remedy = "see 'log show --predicate \"subsystem == \\\"com.apple.FSEvents\\\"\"'";
}

void FileWatch::State::close() {
  if (stream == nullptr) return;
  FSEventStreamStop(stream);
  FSEventStreamInvalidate(stream);
  FSEventStreamRelease(stream);
  stream = nullptr;
}

void FileWatch::State::on_events(ConstFSEventStreamRef, void* self, std::size_t count, void* paths,
                                 const FSEventStreamEventFlags* flags, const FSEventStreamEventId*) {
  const auto state = static_cast<std::weak_ptr<State>*>(self)->lock();
  if (!state) return;
  std::vector<RawEvent> events;
  events.reserve(count);
  for (std::size_t i = 0; i < count; ++i) events.push_back({static_cast<const char* const*>(paths)[i], flags[i]});
  asio::post(state->executor, [weak = std::weak_ptr<State>(state), events = std::move(events)] {
    if (const auto alive = weak.lock(); alive && alive->stream != nullptr) alive->take(events);
  });
}

bool FileWatch::State::is_excluded(std::string path) const {
  for (;;) {
    if (excluded.contains(path)) return true;
    const auto slash = path.rfind('/');
    if (slash == std::string::npos || slash == 0) return false;
    path.resize(slash);
  }
}

void FileWatch::State::take(const std::vector<RawEvent>& events) {
  std::vector<FileChange> changes;
  const Time now_told = WallClock::now() - latency_at_most;
  for (const RawEvent& event : events) {
    std::string path = event.path;
    if (path.size() > 1 && path.back() == '/') path.pop_back();
    if (is_excluded(path)) continue;
    auto has = [&event](FSEventStreamEventFlags flag) { return (event.flags & flag) != 0; };
    if (has(kFSEventStreamEventFlagMustScanSubDirs)) {
      log::warn("the system has dropped file events: looking for what has changed in {}", path);
      tasks.spawn("changed files", look_for_changes(path, complete));
      continue;
    }
    if (has(kFSEventStreamEventFlagRootChanged)) {
      problem = path + " was moved or is gone";
      remedy = "start the containers that use it anew once it is back";
      if (config.on_status) config.on_status();
      continue;
    }
    const bool directory = has(kFSEventStreamEventFlagItemIsDir);
    struct stat now{};
    const bool there = ::lstat(path.c_str(), &now) == 0;
    const bool named = has(kFSEventStreamEventFlagItemCreated) || has(kFSEventStreamEventFlagItemRenamed) ||
                       has(kFSEventStreamEventFlagItemRemoved);
    const bool written = has(kFSEventStreamEventFlagItemModified);
    if (!there) {
      changes.push_back({Kind::removed, std::move(path), {}, directory});
    } else if (named) {
      // A folder that was moved here brings what is in it without further events.
      if (directory && has(kFSEventStreamEventFlagItemRenamed))
        tasks.spawn("moved folder", look_for_changes(path, Time::min() + granularity));
      changes.push_back({Kind::created, std::move(path), {}, directory, !directory});
    } else {
      changes.push_back({written ? Kind::modified : Kind::attributes, std::move(path), {}, directory});
    }
  }
  complete = now_told;
  if (!changes.empty()) config.on_changes(std::move(changes));
}

/// By the files' times; everything when `since` is the beginning of time.
asio::awaitable<void> FileWatch::State::look_for_changes(std::string tree, Time since) {
  since -= granularity;
  ++looking;
  std::vector<FileChange> found;
  std::vector<std::string> folders{std::move(tree)};
  std::size_t looked_at = 0;
  while (!folders.empty()) {
    const std::string folder = std::move(folders.back());
    folders.pop_back();
    struct stat info{};
    if (is_excluded(folder) || ::lstat(folder.c_str(), &info) != 0) continue;
    if (to_time(info.st_mtimespec) >= since) found.push_back({Kind::listing, folder, {}, true});
    std::error_code ec;
    for (const auto& entry : fs::directory_iterator(folder, fs::directory_options::skip_permission_denied, ec)) {
      const std::string path = entry.path().string();
      ++looked_at;
      if (::lstat(path.c_str(), &info) != 0) continue;
      const bool born = to_time(info.st_birthtimespec) >= since;
      if (S_ISDIR(info.st_mode)) folders.push_back(path);
      if (S_ISDIR(info.st_mode) && born) found.push_back({Kind::created, path, {}, true});
      if (!S_ISDIR(info.st_mode) && to_time(info.st_ctimespec) >= since)
        found.push_back({born ? Kind::created : Kind::modified, path, {}, false, born});
    }
    if (looked_at < at_once) continue;
    looked_at = 0;
    if (!found.empty()) config.on_changes(std::exchange(found, {}));
    co_await asio::post(executor, asio::use_awaitable);
  }
  if (!found.empty()) config.on_changes(std::move(found));
  --looking;
  quiet.notify_all();
}

// ---- the class
// --------------------------------------------------------------------------------------------------------

FileWatch::FileWatch(asio::any_io_executor executor, Config config)
    : state_(std::make_shared<State>(executor, std::move(config))) {}

FileWatch::~FileWatch() {
  state_->close();
  dispatch_release(state_->queue);
}

void FileWatch::set_trees(std::vector<std::filesystem::path> trees) {
  std::vector<std::string> wanted;
  for (const fs::path& tree : trees) wanted.push_back(tree.string());
  if (wanted == state_->trees && state_->problem.empty()) return;
  state_->close();
  state_->trees = std::move(wanted);
  state_->problem.clear();
  state_->remedy.clear();
  state_->open();
  if (state_->config.on_status) state_->config.on_status();
}

FileWatch::Status FileWatch::status() const { return Status{state_->trees.size(), 0, state_->problem, state_->remedy}; }

asio::awaitable<void> FileWatch::caught_up() {
  const auto state = state_;
  while (state->looking > 0) co_await state->quiet.wait();
}

void FileWatch::look_for_changes_since(WallClock::time_point since) {
  for (const std::string& tree : state_->trees)
    state_->tasks.spawn("changed files", state_->look_for_changes(tree, since));
}

asio::awaitable<void> FileWatch::stop() {
  state_->close();
  co_await state_->tasks.stop();
}

}  // namespace cl
