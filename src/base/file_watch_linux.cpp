#include <fcntl.h>
#include <fmt/format.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <cstring>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>

#include "src/base/blocking.hpp"
#include "src/base/file.hpp"
#include "src/base/file_watch.hpp"
#include "src/base/folder_look_linux.hpp"
#include "src/base/log.hpp"
#include "src/base/task_group.hpp"
#include "src/base/unique_fd.hpp"

// inotify, with one watch for each folder. fanotify could watch a whole file system, but that needs root, and would
// wake us for every write to it, to a machine's own disks too.
//
// This source keeps the tree of watched folders and turns events into changes. What one folder has in it is looked at
// on another thread: folder_look_linux.cpp.

namespace cl {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using Kind = FileChange::Kind;
using Time = FolderLook::Time;

constexpr std::size_t read_size = 64 * 1024;
constexpr std::size_t most_looks = 64;
constexpr int reads_at_once = 64;  // then what was read is reported
constexpr auto slice = 5ms;        // of looking through folders, before others have a turn
constexpr auto pace = 5ms;         // between reads while much happens: the kernel merges what repeats
constexpr auto much = 50ms;        // reads that follow each other within that
constexpr auto second_half = 1ms;  // until the other event of a move is there, if it comes at all
constexpr auto granularity = 1s;   // of the times of files, generously
std::string below(const std::string& folder, std::string_view name) {
  std::string path = folder;
  if (path.back() != '/') path += '/';
  return path.append(name);
}

struct Folder {
  bool root = true;              ///< of a tree: has no parent
  std::weak_ptr<Folder> parent;  ///< not there any more when a folder was moved away and its old place is gone since
  std::string name;              ///< of a tree's root: its path
  std::map<std::string, std::shared_ptr<Folder>, std::less<>> children;
  int watch = -1;
  dev_t device = 0;
  bool file = false;      ///< a tree's root that is none
  bool replaces = false;  ///< a tree's root whose file went: editors put another one in its place
  bool gone = false;
  std::optional<Report> missed;  ///< it was not where it should be looked through: it, or one above, is being moved

  /// Nothing when a folder above is gone: then this one is somewhere else, and nothing is to be said of it.
  std::optional<std::string> path() const {
    if (root) return name;
    const std::shared_ptr<Folder> folder = parent.lock();
    const std::optional<std::string> above = folder && !folder->gone ? folder->path() : std::nullopt;
    if (!above) return std::nullopt;
    return below(*above, name);
  }
};
using FolderPtr = std::shared_ptr<Folder>;

bool is_below(const std::string& path, const std::string& folder) {
  return path.size() > folder.size() && path.starts_with(folder) &&
         (folder.back() == '/' || path[folder.size()] == '/');
}

/// A folder to look through.
struct Visit {
  FolderPtr folder;
  Report report = Report::nothing;
  Time since = {};
};

/// Looks that a thread does one after the other, for as long as others can wait.
struct LookBatch {
  std::vector<Visit> visits;
  std::vector<FolderLook> looks;
  std::vector<FolderFacts> facts;
  std::atomic<std::size_t> done = 0;  ///< that many looks have ended

  void run() {
    const auto until = Clock::now() + slice;
    for (std::size_t i = 0; i < looks.size() && Clock::now() < until; ++i) {
      facts[i] = look_through_folder(looks[i]);
      done.store(i + 1, std::memory_order_release);
    }
  }
};

/// What one round of reading has found.
struct Batch {
  std::vector<FileChange> changes;
  struct Leaving {
    std::size_t place;  ///< in changes, as a removal
    FolderPtr folder;
  };
  std::map<std::uint32_t, Leaving> leaving;  ///< by cookie: moved away, perhaps to another place that we watch
  bool overflow = false;
};

/// 0 when the system does not tell.
std::size_t half_of_watches() {
  const std::string text = read_file_if_exists("/proc/sys/fs/inotify/max_user_watches").value_or("");
  return static_cast<std::size_t>(std::strtoull(text.c_str(), nullptr, 10)) / 2;
}

}  // namespace

struct FileWatch::State : std::enable_shared_from_this<FileWatch::State> {
  State(asio::any_io_executor on, Config with)
      : executor(on), config(std::move(with)), inotify(on), more(on), done(on), looked(on), tasks(on) {
    if (config.most_folders == 0) config.most_folders = half_of_watches();
    for (const fs::path& path : config.excluded) excluded.insert(path.lexically_normal().string());
  }

  asio::any_io_executor executor;
  Config config;
  std::set<std::string, std::less<>> excluded;
  asio::posix::stream_descriptor inotify;
  std::shared_ptr<const UniqueFd> inotify_for_looks;  ///< the same, which the looks keep open
  std::map<std::string, FolderPtr> roots;
  std::map<std::string, FolderPtr> orphans;  ///< former roots that become folders of a larger tree
  std::unordered_map<int, FolderPtr> watched;
  std::deque<Visit> visits;
  bool visiting = false;
  bool looking = false;  ///< events are read before or after a look, so that they follow what it found
  bool full = false;
  std::string problem, remedy;
  Status reported;
  Notifier more, done, looked;
  Time complete = WallClock::now();  ///< all that happened before it is reported
  TaskGroup tasks;

  void begin();
  Status status() const;
  void report_status();
  void set_trees(const std::vector<fs::path>& trees);
  void look_through(Visit visit);
  void look_through_missed(const FolderPtr& folder);
  void forget(const FolderPtr& folder);
  FolderPtr take_from_trees(const std::string& path);
  FolderPtr add_child(const FolderPtr& parent, const std::string& name);

  asio::awaitable<void> read_events();
  void drain(Batch& batch);
  void take(const inotify_event& event, Batch& batch);
  void take_move(const FolderPtr& folder, std::string path, const inotify_event& event, Batch& batch);
  void root_is_gone(const FolderPtr& folder, Batch& batch);
  void report_gone(const Folder& root, std::vector<FileChange>& changes);
  void deliver(std::vector<FileChange> changes);

  asio::awaitable<void> not_looking();
  asio::awaitable<void> visit_all();
  asio::awaitable<void> visit_some(std::vector<FileChange>& found);
  std::shared_ptr<LookBatch> next_looks();
  std::optional<FolderLook> look_for(const Visit& task);
  void take_facts(const Visit& task, const std::string& path, const FolderFacts& facts, std::vector<FileChange>& found);
  bool take_watch(const Visit& task, const std::string& path, const FolderFacts& facts);
  void take_folder(const Visit& task, const std::string& name, std::string path, std::vector<FileChange>& found);
  void does_not_answer(const Visit& task, const Error& error);
};

// ---- trees ----------------------------------------------------------------------------------------------------------

void FileWatch::State::begin() {
  UniqueFd fd(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!fd) {
    problem = fmt::format("this host lets us watch no files: {}", std::strerror(errno));
    remedy = "sudo sysctl fs.inotify.max_user_instances=1024";
    return;
  }
  inotify_for_looks = std::make_shared<UniqueFd>(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
  inotify.assign(fd.release());
  tasks.spawn("file events", read_events());
  tasks.spawn("folders to watch", visit_all());
}

FileWatch::Status FileWatch::State::status() const { return Status{roots.size(), watched.size(), problem, remedy}; }

void FileWatch::State::report_status() {
  if (Status now = status(); now != reported) {
    reported = std::move(now);
    if (config.on_status) config.on_status();
  }
}

void FileWatch::State::look_through(Visit visit) {
  visits.push_back(std::move(visit));
  more.notify_all();
}

/// In a folder that has come to its new place.
void FileWatch::State::look_through_missed(const FolderPtr& folder) {
  if (const auto report = std::exchange(folder->missed, {})) return look_through({folder, *report});
  for (const auto& [name, child] : folder->children) look_through_missed(child);
}

void FileWatch::State::set_trees(const std::vector<fs::path>& trees) {
  if (!inotify.is_open()) return;
  std::map<std::string, FolderPtr> wanted;
  for (const fs::path& tree : trees) {
    std::string path = tree.lexically_normal().string();
    if (path.size() > 1 && path.back() == '/') path.pop_back();
    const auto known = roots.find(path);
    FolderPtr folder = known != roots.end() && !known->second->gone ? known->second : take_from_trees(path);
    if (folder == nullptr) {
      folder = std::make_shared<Folder>();
      folder->name = path;
      look_through({folder});
    }
    wanted.emplace(std::move(path), std::move(folder));
  }
  for (const auto& [path, folder] : roots) {
    if (folder->gone || wanted.contains(path)) continue;
    // What was watched stays so without a gap while the larger tree around it is looked through.
    const bool kept =
        std::any_of(wanted.begin(), wanted.end(), [&path](const auto& one) { return is_below(path, one.first); });
    if (kept)
      orphans[path] = folder;
    else
      forget(folder);
  }
  roots = std::move(wanted);
  problem.clear();
  remedy.clear();
  if (std::exchange(full, false))
    for (const auto& [path, folder] : roots) look_through({folder});
  more.notify_all();
}

/// A folder that is watched already as a part of a larger tree.
FolderPtr FileWatch::State::take_from_trees(const std::string& path) {
  for (const auto& [root_path, root] : roots) {
    if (root->gone || !is_below(path, root_path)) continue;
    FolderPtr taken = root, parent;
    for (const fs::path& name : fs::path(path).lexically_relative(root_path)) {
      const auto child = taken->children.find(name.string());
      if (child == taken->children.end()) return nullptr;
      parent = std::exchange(taken, child->second);
    }
    parent->children.erase(taken->name);
    taken->root = true;
    taken->name = path;
    return taken;
  }
  return nullptr;
}

void FileWatch::State::forget(const FolderPtr& folder) {
  folder->gone = true;
  if (folder->watch >= 0) {
    ::inotify_rm_watch(inotify.native_handle(), folder->watch);
    watched.erase(folder->watch);
    folder->watch = -1;
  }
  for (const auto& [name, child] : folder->children) forget(child);
  folder->children.clear();
}

FolderPtr FileWatch::State::add_child(const FolderPtr& parent, const std::string& name) {
  auto child = std::make_shared<Folder>();
  child->root = false;
  child->parent = parent;
  child->name = name;
  parent->children[name] = child;
  return child;
}

// ---- events ---------------------------------------------------------------------------------------------------------

asio::awaitable<void> FileWatch::State::read_events() {
  auto last = Clock::now() - much;
  for (;;) {
    co_await inotify.async_wait(asio::posix::stream_descriptor::wait_read, asio::use_awaitable);
    const Time begun = WallClock::now();
    Batch batch;
    co_await not_looking();
    drain(batch);
    if (!batch.leaving.empty()) {
      co_await sleep_for(second_half);
      co_await not_looking();
      drain(batch);
    }
    for (const auto& [cookie, leaving] : batch.leaving)
      if (leaving.folder) forget(leaving.folder);
    deliver(std::move(batch.changes));
    if (batch.overflow) {
      log::warn("the system has dropped file events: looking for what has changed");
      for (const auto& [path, folder] : roots)
        if (!folder->gone) look_through({folder, Report::newer, complete - granularity});
    }
    complete = begun;
    report_status();
    if (Clock::now() - last < much) co_await sleep_for(pace);
    last = Clock::now();
  }
}

void FileWatch::State::drain(Batch& batch) {
  alignas(inotify_event) std::array<char, read_size> space;
  for (int i = 0; i < reads_at_once; ++i) {
    const ssize_t got = ::read(inotify.native_handle(), space.data(), space.size());
    if (got <= 0) return;
    for (const char* at = space.data(); at < space.data() + got;) {
      const auto& event = *reinterpret_cast<const inotify_event*>(at);
      take(event, batch);
      at += sizeof event + event.len;
    }
  }
}

void FileWatch::State::take(const inotify_event& event, Batch& batch) {
  if ((event.mask & IN_Q_OVERFLOW) != 0) batch.overflow = true;
  const auto found = watched.find(event.wd);
  if (found == watched.end()) {
    ::inotify_rm_watch(inotify.native_handle(), event.wd);  // of a look that was given up, or gone already
    return;
  }
  const FolderPtr folder = found->second;
  if ((event.mask & IN_IGNORED) != 0) {
    watched.erase(found);
    folder->watch = -1;
    return;
  }
  if (event.len == 0) {  // of the folder itself; the event of its parent has the name
    if (!folder->root) return;
    if ((event.mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT)) != 0) return root_is_gone(folder, batch);
    const Kind self = (event.mask & IN_MODIFY) != 0 ? Kind::modified : Kind::attributes;
    batch.changes.push_back({self, folder->name, {}, !folder->file});
    return;
  }
  const std::optional<std::string> above = folder->path();
  if (!above) return;
  const std::string name(event.name);  // ends with a NUL
  std::string path = below(*above, name);
  const bool directory = (event.mask & IN_ISDIR) != 0;
  if (directory && excluded.contains(path)) return;
  if ((event.mask & (IN_MOVED_FROM | IN_MOVED_TO)) != 0) return take_move(folder, std::move(path), event, batch);
  if (directory && (event.mask & (IN_CREATE | IN_DELETE)) != 0)
    if (const auto child = folder->children.find(name); child != folder->children.end()) {
      forget(child->second);
      folder->children.erase(child);
    }
  if (directory && (event.mask & IN_CREATE) != 0) look_through({add_child(folder, name), Report::everything});
  const Kind kind = (event.mask & IN_CREATE) != 0   ? Kind::created
                    : (event.mask & IN_DELETE) != 0 ? Kind::removed
                    : (event.mask & IN_MODIFY) != 0 ? Kind::modified
                                                    : Kind::attributes;
  batch.changes.push_back({kind, std::move(path), {}, directory});
}

/// A move within what we watch is two events with the same cookie; otherwise something goes, or comes.
void FileWatch::State::take_move(const FolderPtr& folder, std::string path, const inotify_event& event, Batch& batch) {
  const bool directory = (event.mask & IN_ISDIR) != 0;
  const std::string name(event.name);
  FolderPtr moved;
  if (const auto child = folder->children.find(name); child != folder->children.end()) {
    if ((event.mask & IN_MOVED_FROM) != 0)
      moved = child->second;
    else
      forget(child->second);
    folder->children.erase(child);
  }
  if ((event.mask & IN_MOVED_FROM) != 0) {
    batch.leaving[event.cookie] = {batch.changes.size(), moved};
    batch.changes.push_back({Kind::removed, std::move(path), {}, directory});
    return;
  }
  FileChange change{Kind::created, std::move(path), {}, directory, !directory};
  if (const auto from = batch.leaving.find(event.cookie); from != batch.leaving.end()) {
    change.kind = Kind::moved;
    change.from = std::exchange(batch.changes[from->second.place].path, {});
    change.content = false;
    moved = from->second.folder;
    batch.leaving.erase(from);
  }
  if (directory && moved) {
    moved->parent = folder;
    moved->name = name;
    folder->children[name] = moved;
    look_through_missed(moved);
  } else if (directory) {
    look_through({add_child(folder, name), Report::everything});
  }
  batch.changes.push_back(std::move(change));
}

void FileWatch::State::root_is_gone(const FolderPtr& folder, Batch& batch) {
  const std::string path = folder->name;
  forget(folder);
  if (!folder->file) return report_gone(*folder, batch.changes);
  auto another = std::make_shared<Folder>();
  another->name = path;
  another->file = another->replaces = true;
  roots[path] = another;
  look_through({another});
}

void FileWatch::State::report_gone(const Folder& root, std::vector<FileChange>& changes) {
  changes.push_back({Kind::removed, root.name, {}, !root.file});
  problem = root.name + " is gone";
  remedy = "start the containers that use it anew once it is back";
}

void FileWatch::State::deliver(std::vector<FileChange> changes) {
  std::erase_if(changes, [](const FileChange& change) { return change.path.empty(); });  // the first halves of moves
  if (!changes.empty()) config.on_changes(std::move(changes));
}

// ---- looking through folders ----------------------------------------------------------------------------------------

asio::awaitable<void> FileWatch::State::not_looking() {
  while (looking) co_await looked.wait();
}

asio::awaitable<void> FileWatch::State::visit_all() {
  for (;;) {
    while (visits.empty()) {
      for (const auto& [path, folder] : std::exchange(orphans, {}))
        if (folder->root) forget(folder);
      visiting = false;
      report_status();
      done.notify_all();
      co_await more.wait();
    }
    visiting = true;
    std::vector<FileChange> found;
    looking = true;
    co_await visit_some(found);
    looking = false;
    looked.notify_all();
    deliver(std::move(found));
    co_await asio::post(executor, asio::use_awaitable);
  }
}

/// Folders of the user's may hang: one that does is left out, and the others wait for no longer than the limit.
asio::awaitable<void> FileWatch::State::visit_some(std::vector<FileChange>& found) {
  const auto batch = next_looks();
  if (batch->looks.empty()) co_return;
  auto work = [batch] { batch->run(); };
  bool late = false;
  try {
    co_await with_timeout(look_limit, "looking through folders", blocking(Files::users, std::move(work)));
  } catch (const Error& error) {
    if (error.code() != Errc::timed_out) throw;
    late = true;
  }
  const std::size_t looked_at = batch->done.load(std::memory_order_acquire);
  for (std::size_t i = 0; i < looked_at; ++i)
    take_facts(batch->visits[i], batch->looks[i].path, batch->facts[i], found);
  const std::size_t left = late ? looked_at + 1 : looked_at;
  if (late && looked_at < batch->looks.size())
    does_not_answer(batch->visits[looked_at], batch->looks[looked_at].begun->give_up(look_limit));
  for (std::size_t i = batch->visits.size(); i > left; --i) visits.push_front(std::move(batch->visits[i - 1]));
}

std::shared_ptr<LookBatch> FileWatch::State::next_looks() {
  // Near the limit one by one: their number is then known before the next.
  const bool is_near = config.most_folders != 0 && watched.size() + most_looks >= config.most_folders;
  const std::size_t most = is_near ? 1 : most_looks;
  const auto batch = std::make_shared<LookBatch>();
  while (!visits.empty() && batch->looks.size() < most) {
    Visit next = std::move(visits.front());
    visits.pop_front();
    try {
      std::optional<FolderLook> look = look_for(next);
      if (!look) continue;
      look->begun = std::make_shared<Look>(look->path);
      batch->looks.push_back(std::move(*look));
      batch->visits.push_back(std::move(next));
    } catch (const Error& error) {
      does_not_answer(next, error);
    }
  }
  batch->facts.resize(batch->looks.size());
  return batch;
}

std::optional<FolderLook> FileWatch::State::look_for(const Visit& task) {
  const FolderPtr& folder = task.folder;
  const std::optional<std::string> path = folder->gone ? std::nullopt : folder->path();
  if (!path) return std::nullopt;
  folder->missed.reset();
  FolderLook look{inotify_for_looks, *path, folder->watch < 0, folder->root, task.report, task.since, {}, {}};
  if (const FolderPtr parent = folder->root ? nullptr : folder->parent.lock()) look.parent_device = parent->device;
  if (!look.add_watch) return look;
  if (full) return std::nullopt;
  if (config.most_folders != 0 && watched.size() >= config.most_folders) {
    FolderFacts facts;
    facts.failure = ENOSPC;
    take_watch(task, *path, facts);
    return std::nullopt;
  }
  return look;
}

void FileWatch::State::does_not_answer(const Visit& task, const Error& error) {
  log::warn("not watched: {}", one_line(error));
  problem = one_line(error);
  remedy = error.remedy();
  if (task.folder->root) task.folder->gone = true;
}

void FileWatch::State::take_facts(const Visit& task, const std::string& path, const FolderFacts& facts,
                                  std::vector<FileChange>& found) {
  const FolderPtr& folder = task.folder;
  if (folder->gone) {  // the trees were changed meanwhile
    if (facts.watch >= 0 && !watched.contains(facts.watch)) ::inotify_rm_watch(inotify.native_handle(), facts.watch);
    return;
  }
  if (std::exchange(folder->replaces, false)) {
    if (facts.watch < 0 || !facts.file) {
      if (facts.watch >= 0) ::inotify_rm_watch(inotify.native_handle(), facts.watch);
      folder->gone = true;
      return report_gone(*folder, found);
    }
    found.push_back({Kind::created, path, {}, false, true});
  }
  if (folder->watch < 0 && !take_watch(task, path, facts)) return;
  if (facts.missing) folder->missed = task.report;
  folder->device = facts.device;
  if (facts.newer) found.push_back({Kind::listing, path, {}, true});
  if (!facts.listed) return;
  std::set<std::string, std::less<>> missing;
  for (const auto& [name, child] : folder->children) missing.insert(name);
  for (const FolderFacts::Entry& entry : facts.entries) {
    std::string full_path = below(path, entry.name);
    if (entry.directory) {
      missing.erase(entry.name);
      if (!excluded.contains(full_path)) take_folder(task, entry.name, std::move(full_path), found);
    } else {
      found.push_back({entry.born ? Kind::created : Kind::modified, std::move(full_path), {}, false, entry.born});
    }
  }
  if (task.report != Report::newer) return;
  for (const std::string& name : missing) {
    found.push_back({Kind::removed, below(path, name), {}, true});
    forget(folder->children.at(name));
    folder->children.erase(name);
  }
}

bool FileWatch::State::take_watch(const Visit& task, const std::string& path, const FolderFacts& facts) {
  const FolderPtr& folder = task.folder;
  folder->file = facts.file;
  if (facts.watch >= 0) {
    // The same folder under two names (a bind mount): one of them is enough to notice, and the other might be endless.
    if (!watched.emplace(facts.watch, folder).second) return false;
    folder->watch = facts.watch;
    return true;
  }
  if (facts.failure == ENOSPC) {
    full = true;
    problem = fmt::format("changes are noticed in {} folders only: {}", watched.size(),
                          watched.size() == config.most_folders ? "that is half of what this host lets one user watch"
                                                                : "this host's limit of watched folders is reached");
    remedy = "sudo sysctl fs.inotify.max_user_watches=1048576";
    log::warn("{}; {}", problem, remedy);
  } else if (folder->root) {
    problem = fmt::format("{} cannot be watched: {}", path, std::strerror(facts.failure));
    remedy = "start the containers that use it anew once that is mended";
    folder->gone = true;
  } else {
    if (facts.failure == ENOENT) folder->missed = task.report;
    log::debug("not watched: {}: {}", path, std::strerror(facts.failure));
  }
  return false;
}

/// A folder that was found in one that was looked through.
void FileWatch::State::take_folder(const Visit& task, const std::string& name, std::string path,
                                   std::vector<FileChange>& found) {
  const FolderPtr& folder = task.folder;
  const auto child = folder->children.find(name);
  if (const auto orphan = orphans.find(path); child == folder->children.end() && orphan != orphans.end()) {
    orphan->second->root = false;
    orphan->second->parent = folder;
    orphan->second->name = name;
    folder->children[name] = orphan->second;
    return;
  }
  const bool known = child != folder->children.end();
  const auto report = known || task.report == Report::nothing ? task.report : Report::everything;
  visits.push_back({known ? child->second : add_child(folder, name), report, task.since});
  if (!known && report == Report::everything) found.push_back({Kind::created, std::move(path), {}, true});
}

// ---- the class ------------------------------------------------------------------------------------------------------

FileWatch::FileWatch(asio::any_io_executor executor, Config config)
    : state_(std::make_shared<State>(executor, std::move(config))) {
  state_->begin();
}

FileWatch::~FileWatch() = default;

void FileWatch::set_trees(std::vector<std::filesystem::path> trees) { state_->set_trees(trees); }

FileWatch::Status FileWatch::status() const { return state_->status(); }

asio::awaitable<void> FileWatch::caught_up() {
  const auto state = state_;
  while (!state->visits.empty() || state->visiting) co_await state->done.wait();
}

void FileWatch::look_for_changes_since(WallClock::time_point since) {
  for (const auto& [path, folder] : state_->roots)
    if (!folder->gone) state_->look_through({folder, Report::newer, since - granularity});
}

asio::awaitable<void> FileWatch::stop() { co_await state_->tasks.stop(); }

}  // namespace cl
