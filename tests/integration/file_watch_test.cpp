#include "src/base/file_watch.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <boost/asio/post.hpp>
#include <fstream>
#include <map>
#include <set>
#include <thread>

#include "tests/support/hung_mount.hpp"
#include "tests/support/run.hpp"
#include "tests/support/temp_dir.hpp"

// On the real file system. What changes tell is collected by a reader that believes nothing else: at the end it must
// know every file and its last content.

namespace cl::test {
namespace {

namespace fs = std::filesystem;
using Kind = FileChange::Kind;

void put(const fs::path& path, const std::string& text) { std::ofstream(path) << text; }
std::string get(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

using Files = std::map<std::string, std::string>;  // content by path; folders with "/"

Files what_is_there(const fs::path& root) {
  Files files;
  for (const auto& entry : fs::recursive_directory_iterator(root))
    files[entry.path().string()] = entry.is_symlink() ? "link" : entry.is_directory() ? "/" : get(entry.path());
  return files;
}

/// Knows of files what it was told, and looks at those alone that something was said of.
class Reader {
 public:
  void take(const std::vector<FileChange>& changes) {
    for (const FileChange& one : changes) {
      ++changes_;
      if (one.kind == Kind::removed) forget(one.path);
      if (one.kind == Kind::moved) {
        Files moved;
        for (const auto& [path, content] : files)
          if (path == one.from || path.starts_with(one.from + "/"))
            moved[one.path + path.substr(one.from.size())] = content;
        forget(one.from);
        forget(one.path);
        files.merge(moved);
      }
      if (one.kind == Kind::created || one.kind == Kind::modified) look(one.path);
      if (one.kind == Kind::listing) list(one.path);
    }
  }
  Files files;
  std::size_t changes() const { return changes_; }

 private:
  void look(const std::string& path) {
    const fs::file_status status = fs::symlink_status(path);
    if (!fs::exists(status)) return forget(path);
    files[path] = fs::is_symlink(status) ? "link" : fs::is_directory(status) ? "/" : get(path);
  }
  void forget(const std::string& gone) {
    std::erase_if(files, [&gone](const auto& one) { return one.first == gone || one.first.starts_with(gone + "/"); });
  }
  void list(const std::string& folder) {
    std::erase_if(files, [&folder](const auto& one) {
      return fs::path(one.first).parent_path() == folder && !fs::exists(fs::symlink_status(one.first));
    });
  }
  std::size_t changes_ = 0;
};

struct Bed {
  explicit Bed(asio::any_io_executor executor, fs::path excluded = {}, std::size_t most = 0) {
    FileWatch::Config config;
    if (!excluded.empty()) config.excluded.push_back(std::move(excluded));
    config.on_changes = [this](std::vector<FileChange> changes) {
      reader.take(changes);
      for (FileChange& one : changes) all.push_back(std::move(one));
    };
    config.most_folders = most;
    watch.emplace(executor, std::move(config));
  }
  asio::awaitable<void> begin(std::vector<fs::path> trees) {
    watch->set_trees(std::move(trees));
    co_await watch->caught_up();
  }
  /// Until the reader knows what is there, or a while has passed.
  asio::awaitable<bool> agree(fs::path root) {
    for (int i = 0; i < 400; ++i) {
      if (reader.files == what_is_there(root)) co_return true;
      co_await sleep_for(10ms);
    }
    co_return false;
  }
  std::string text(const fs::path& root) const {
    std::string said;
    auto name = [&root](const std::string& path) { return fs::path(path).lexically_relative(root).string(); };
    for (const FileChange& one : all) {
      said += static_cast<char>(one.kind);
      if (one.directory) said += '/';
      said += " " + (one.from.empty() ? "" : name(one.from) + ">") + name(one.path) + ";";
    }
    return said;
  }
  Reader reader;
  std::vector<FileChange> all;
  std::optional<FileWatch> watch;
};

asio::awaitable<std::string> one_of_each() {
  TempDir directory;
  const fs::path root = directory.path();
  fs::create_directory(root / "folder");
  put(root / "folder" / "old", "1");
  Bed bed(co_await asio::this_coro::executor);
  co_await bed.begin({root});
  put(root / "new", "");
  co_await sleep_for(20ms);
  {
    std::ofstream(root / "folder" / "old", std::ios::app) << "2";
  }
  fs::permissions(root / "folder" / "old", fs::perms::owner_all);
  fs::rename(root / "folder" / "old", root / "moved");
  fs::rename(root / "folder", root / "named");
  put(root / "named" / "x", "3");
  co_await sleep_for(20ms);
  fs::remove(root / "moved");
  fs::remove_all(root / "named");
  co_await sleep_for(50ms);
  co_await bed.watch->stop();
  co_return bed.text(root);
}

TEST(FileWatch, TellsWhatHappened) {
  EXPECT_EQ(run(one_of_each()),
            "c new;m folder/old;a folder/old;r folder/old>moved;r/ folder>named;c named/x;m named/x;d moved;d named/x;"
            "d/ named;");
}

asio::awaitable<std::string> in_and_out() {
  TempDir directory, elsewhere;
  const fs::path root = directory.path();
  fs::create_directories(elsewhere / "tree" / "deep");
  put(elsewhere / "tree" / "deep" / "file", "1");
  Bed bed(co_await asio::this_coro::executor);
  co_await bed.begin({root});
  fs::rename(elsewhere / "tree", root / "tree");
  std::string said = co_await bed.agree(root) ? "in " : "not in ";
  put(root / "tree" / "deep" / "file", "2");
  said += co_await bed.agree(root) ? "followed " : "not followed ";
  fs::rename(root / "tree", elsewhere / "again");
  said += co_await bed.agree(root) ? "out " : "not out ";
  const std::size_t before = bed.all.size();
  put(elsewhere / "again" / "deep" / "file", "3");
  co_await sleep_for(30ms);
  said += bed.all.size() == before ? "left alone" : "still watched";
  co_await bed.watch->stop();
  co_return said;
}

TEST(FileWatch, FollowsFoldersThatComeAndNotThoseThatGo) { EXPECT_EQ(run(in_and_out()), "in followed out left alone"); }

asio::awaitable<std::string> parent_goes_too(bool with_a_new_folder) {
  TempDir directory, elsewhere;
  const fs::path root = directory.path();
  fs::create_directories(root / "a" / "b");
  Bed bed(co_await asio::this_coro::executor);
  co_await bed.begin({root});
  // Nothing is read in between: one batch tells of all of it, and `b` is still watched at its end.
  if (with_a_new_folder) fs::create_directory(root / "a" / "b" / "c");
  fs::rename(root / "a" / "b", elsewhere / "b");
  fs::remove(root / "a");
  if (!with_a_new_folder) put(elsewhere / "b" / "x", "1");
  co_await sleep_for(50ms);
  std::string said = bed.text(root) + std::to_string(bed.watch->status().folders);
  co_await bed.watch->stop();
  co_return said;
}

TEST(FileWatch, SaysNothingOfAFolderThatHasLeftAParentThatIsGone) {
  EXPECT_EQ(run(parent_goes_too(false)), "d/ a/b;d/ a;1");
}

// It waits to be looked through while the other event of the move may still come.
TEST(FileWatch, DoesNotLookThroughAFolderThatHasLeftAParentThatIsGone) {
  EXPECT_EQ(run(parent_goes_too(true)), "c/ a/b/c;d/ a/b;d/ a;1");
}

/// A folder with many others is moved while it is looked through for the first time.
asio::awaitable<bool> moved_early() {
  constexpr int many = 1000;
  TempDir directory;
  const fs::path root = directory.path();
  const auto executor = co_await asio::this_coro::executor;
  Bed bed(executor);
  co_await bed.begin({root});
  for (int i = 0; i < many; ++i) fs::create_directories(root / "new" / std::to_string(i));
  const std::size_t before = bed.watch->status().folders;
  while (bed.watch->status().folders < before + 100) co_await asio::post(executor, asio::use_awaitable);
  fs::rename(root / "new", root / "moved");
  bool same = co_await bed.agree(root);
  for (int i = 0; i < many; ++i) put(root / "moved" / std::to_string(i) / "file", "1");
  same = co_await bed.agree(root) && same;
  co_await bed.watch->stop();
  co_return same;
}

TEST(FileWatch, WatchesAFolderThatIsMovedWhileItIsLookedThrough) { EXPECT_TRUE(run(moved_early(), 60s)); }

asio::awaitable<bool> new_folders() {
  TempDir directory;
  const fs::path root = directory.path();
  Bed bed(co_await asio::this_coro::executor);
  co_await bed.begin({root});
  std::thread writer([&root] {
    for (int i = 0; i < 300; ++i) {
      const fs::path deep = root / std::to_string(i) / "a" / "b";
      fs::create_directories(deep);
      put(deep / "file", std::to_string(i));
      if (i % 3 == 0) fs::remove_all(root / std::to_string(i));
      if (i % 6 == 0) fs::create_directories(deep);
      if (i % 7 == 0) put(root / (std::to_string(i) + "x"), "y");
    }
  });
  writer.join();
  const bool same = co_await bed.agree(root);
  co_await bed.watch->stop();
  co_return same;
}

TEST(FileWatch, MissesNothingInFoldersThatWereJustMade) { EXPECT_TRUE(run(new_folders())); }

asio::awaitable<bool> burst(bool beside) {
  TempDir directory;
  const fs::path root = directory.path();
  for (int i = 0; i < 20; ++i) fs::create_directory(root / std::to_string(i));
  Bed bed(co_await asio::this_coro::executor);
  co_await bed.begin({root});
  for (const auto& [path, content] : what_is_there(root)) bed.reader.files[path] = content;
  auto write = [&root] {
    for (int i = 0; i < 10'000; ++i) put(root / std::to_string(i % 20) / std::to_string(i / 2), std::to_string(i));
    for (int i = 0; i < 500; ++i) fs::remove(root / std::to_string(2 * i % 20) / std::to_string(i));
  };
  if (beside) {
    std::atomic<bool> written = false;
    std::thread writer([&] {
      write();
      written = true;
    });
    while (!written) co_await sleep_for(1ms);
    writer.join();
  } else {
    write();
  }
  const bool same = co_await bed.agree(root);
  co_await bed.watch->stop();
  co_return same;
}

TEST(FileWatch, LosesNothingInABurst) { EXPECT_TRUE(run(burst(true), 60s)); }

// Nobody reads meanwhile: more happens than the kernel keeps (fs.inotify.max_queued_events, 16384).
TEST(FileWatch, FindsWhatTheSystemDroppedByTheTimesOfFiles) { EXPECT_TRUE(run(burst(false), 60s)); }

asio::awaitable<bool> since() {
  TempDir directory;
  const fs::path root = directory.path();
  fs::create_directory(root / "folder");
  put(root / "folder" / "old", "1");
  fs::last_write_time(root / "folder" / "old", fs::file_time_type::clock::now() - 1h);
  Bed bed(co_await asio::this_coro::executor);
  const auto begun = FileWatch::WallClock::now();
  put(root / "folder" / "new", "2");
  co_await bed.begin({root});
  bed.watch->look_for_changes_since(begun);
  co_await bed.watch->caught_up();
  bool found = false;
  for (const FileChange& one : bed.all) found = found || one.path == root / "folder" / "new";
  co_await bed.watch->stop();
  co_return found;
}

TEST(FileWatch, LooksForWhatChangedSince) { EXPECT_TRUE(run(since())); }

asio::awaitable<std::string> limited() {
  TempDir directory;
  for (int i = 0; i < 5; ++i) fs::create_directory(directory / std::to_string(i));
  Bed bed(co_await asio::this_coro::executor, {}, 3);
  co_await bed.begin({directory.path()});
  const FileWatch::Status status = bed.watch->status();
  co_await bed.watch->stop();
  co_return std::to_string(status.folders) + " " + status.problem + "; " + status.remedy;
}

TEST(FileWatch, LeavesWatchesToOthersAndSaysSo) {
  EXPECT_EQ(run(limited()),
            "3 changes are noticed in 3 folders only: that is half of what this host lets one user watch; "
            "sudo sysctl fs.inotify.max_user_watches=1048576");
}

asio::awaitable<std::string> left_out() {
  TempDir directory, elsewhere;
  const fs::path root = directory.path();
  fs::create_directory(root / "own");
  fs::create_directory_symlink(elsewhere.path(), root / "link");
  Bed bed(co_await asio::this_coro::executor, root / "own");
  co_await bed.begin({root});
  put(root / "own" / "x", "1");
  put(elsewhere / "x", "1");
  fs::create_directory(root / "own" / "later");
  put(root / "own" / "later" / "x", "1");
  co_await sleep_for(50ms);
  std::string said = std::to_string(bed.watch->status().folders) + bed.text(root);
  co_await bed.watch->stop();
  co_return said;
}

TEST(FileWatch, DoesNotEnterExcludedFoldersAndLinks) { EXPECT_EQ(run(left_out()), "1"); }

asio::awaitable<std::string> other_trees() {
  TempDir directory;
  const fs::path root = directory.path();
  fs::create_directories(root / "a" / "b" / "c");
  fs::create_directories(root / "d");
  Bed bed(co_await asio::this_coro::executor);
  std::string said;
  auto look = [&](const char* name) -> asio::awaitable<void> {
    co_await bed.watch->caught_up();
    bed.all.clear();
    put(root / "a" / "b" / "c" / "x", name);
    put(root / "d" / "x", name);
    co_await sleep_for(30ms);
    std::set<std::string> folders;
    for (const FileChange& one : bed.all) folders.insert(fs::path(one.path).parent_path().lexically_relative(root));
    said += std::to_string(bed.watch->status().folders);
    for (const std::string& folder : folders) said += " " + folder;
    said += ";";
  };
  co_await bed.begin({root / "a" / "b"});
  co_await look("1");
  bed.watch->set_trees({root});
  // Not a moment without the folder that was watched before.
  bed.all.clear();
  put(root / "a" / "b" / "c" / "x", "between");
  co_await sleep_for(30ms);
  said += bed.all.empty() ? "gap;" : "no gap;";
  co_await look("2");
  bed.watch->set_trees({root / "a" / "b" / "c"});
  co_await look("3");
  bed.watch->set_trees({});
  co_await look("4");
  co_await bed.watch->stop();
  co_return said;
}

TEST(FileWatch, GoesOverToOtherTreesWithoutAGap) {
  EXPECT_EQ(run(other_trees()), "2 a/b/c;no gap;5 a/b/c d;1 a/b/c;0;");
}

asio::awaitable<std::string> root_ends() {
  TempDir directory;
  fs::create_directory(directory / "tree");
  put(directory / "file", "1");
  Bed bed(co_await asio::this_coro::executor);
  co_await bed.begin({directory / "tree", directory / "file"});
  put(directory / "file", "2");
  put(directory / "file.new", "3");
  fs::rename(directory / "file.new", directory / "file");
  co_await sleep_for(30ms);
  put(directory / "file", "4");
  fs::remove(directory / "tree");
  co_await sleep_for(30ms);
  std::string said = get(directory / "file") + bed.reader.files[directory / "file"];
  said += " " + bed.watch->status().problem.substr(directory.path().string().size());
  fs::create_directory(directory / "tree");
  co_await bed.begin({directory / "tree"});
  said += " " + bed.watch->status().problem + std::to_string(bed.watch->status().folders);
  co_await bed.watch->stop();
  co_return said;
}

TEST(FileWatch, KnowsWhenATreeIsGoneAndWhenAFileWasReplaced) { EXPECT_EQ(run(root_ends()), "44 /tree is gone 1"); }

asio::awaitable<double> idle_cpu() {
  TempDir directory;
  for (int i = 0; i < 200; ++i) {
    fs::create_directory(directory / std::to_string(i));
    put(directory / std::to_string(i) / "x", "");
  }
  Bed bed(co_await asio::this_coro::executor);
  co_await bed.begin({directory.path()});
  co_await sleep_for(50ms);
  rusage before{}, after{};
  ::getrusage(RUSAGE_SELF, &before);
  co_await sleep_for(500ms);
  ::getrusage(RUSAGE_SELF, &after);
  co_await bed.watch->stop();
  co_return static_cast<double>(after.ru_nvcsw - before.ru_nvcsw);
}

TEST(FileWatch, SleepsWhileNothingChanges) { EXPECT_LE(run(idle_cpu()), 3); }

#ifdef __linux__
asio::awaitable<std::string> one_tree_hangs(fs::path hung) {
  TempDir directory;
  const fs::path root = directory.path();
  Bed bed(co_await asio::this_coro::executor);
  bed.watch->set_trees({hung, root});
  co_await bed.watch->caught_up();
  std::string said = bed.watch->status().problem;
  put(root / "file", "1");
  if (!co_await bed.agree(root)) said += ", and nothing else is told";
  co_await bed.watch->stop();
  co_return said;
}

TEST(FileWatch, ATreeThatHangsIsLeftOut) {
  const HungMount mount;
  if (!mount.there()) GTEST_SKIP() << "needs /dev/fuse and the right to mount";
  EXPECT_EQ(run(one_tree_hangs(mount.path()), 30s),
            mount.path().string() + " on this computer does not answer: looking at it took more than 5000 ms");
}
#endif

}  // namespace
}  // namespace cl::test
