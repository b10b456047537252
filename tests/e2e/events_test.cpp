#include <sys/stat.h>

#include <boost/json.hpp>
#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>

#include "src/base/file.hpp"
#include "tests/e2e/shared_machine.hpp"

// What is done to shared files on this host is told to programs in containers that watch them.

namespace cl::e2e {
namespace {

void put(const fs::path& path, const std::string& text) { std::ofstream(path) << text; }

class Events : public OnDocker {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(OnDocker::SetUp());
    fs::create_directories(source() / "folder");
    put(source() / "file", "old");
    put(source() / "replaced", "old");
    fs::copy_file(COLIMA_LIKE_FILE_WATCHER, source() / "watcher");
  }

  /// Each test's own, in the user's home, which is shared.
  static fs::path source() {
    return box->root() / "user" / testing::UnitTest::GetInstance()->current_test_info()->name();
  }
  /// A container with the share at /src that prints a line "EVENT\tWATCHED\tNAME" for each of these events there.
  static void watch(const std::string& name, const std::string& events, std::vector<std::string> where,
                    const std::string& options = "") {
    std::vector<std::string> args{"run", "-d",           "--name", name, "-v", source().string() + ":/src" + options,
                                  "box", "/src/watcher", events};
    args.insert(args.end(), where.begin(), where.end());
    ASSERT_OK(docker(std::move(args)));
    expect_said(name, "ready");
  }
  static std::string said(const std::string& name) { return "\n" + docker({"logs", name}).out; }
  static void expect_said(const std::string& name, const std::string& line) {
    EXPECT_TRUE(eventually(60s, [&] { return said(name).find("\n" + line + "\n") != std::string::npos; }))
        << line << " is not in" << said(name);
  }
};

TEST_F(Events, ReachWhoWatchesAVolumeThatIsASharedFolder) {
  ASSERT_OK(
      docker({"volume", "create", "-o", "type=none", "-o", "o=bind", "-o", "device=" + source().string(), "watched"}));
  ASSERT_OK(docker({"run", "-d", "--name", "watcher", "-v", "watched:/src", "box", "/src/watcher", "nc", "/src"}));
  expect_said("watcher", "ready");
  put(source() / "new", "1");
  expect_said("watcher", "n\t/src\tnew");
  put(source() / "file", "new text");
  expect_said("watcher", "c\t/src\tfile");
  EXPECT_OK(docker({"rm", "-f", "watcher"}));
  EXPECT_OK(docker({"volume", "rm", "watched"}));
}

TEST_F(Events, AreThoseThatTheKernelOfTheMachineWouldTell) {
  ASSERT_NO_FATAL_FAILURE(watch("watcher", "cewnydmD", {"/src", "/src/folder", "/src/replaced"}));
  put(source() / "new", "1");
  expect_said("watcher", "n\t/src\tnew");
  expect_said("watcher", "w\t/src\tnew");
  put(source() / "file", "new text");
  expect_said("watcher", "c\t/src\tfile");
  fs::permissions(source() / "file", fs::perms::owner_all);
  expect_said("watcher", "e\t/src\tfile");
  fs::rename(source() / "new", source() / "folder" / "moved");
  expect_said("watcher", "y\t/src\tnew");
  expect_said("watcher", "m\t/src/folder\tmoved");
  fs::remove(source() / "folder" / "moved");
  expect_said("watcher", "d\t/src/folder\tmoved");
  fs::create_directory(source() / "made");
  expect_said("watcher", "n\t/src\tmade");
  // As editors save: whoever watches the file itself learns that it is another one.
  put(source() / "replaced.new", "new");
  fs::rename(source() / "replaced.new", source() / "replaced");
  expect_said("watcher", "m\t/src\treplaced");
  // By virtiofs the file that was watched is gone, by sshfs a path is always the same file and this one has other
  // content.
  EXPECT_TRUE(eventually(60s, [] {
    const std::string all = said("watcher");
    return all.find("\nD\t/src/replaced\t\n") != std::string::npos ||
           all.find("\nc\t/src/replaced\t\n") != std::string::npos;
  })) << said("watcher");
  EXPECT_EQ(docker({"exec", "watcher", "cat", "/src/file", "/src/replaced"}).out, "new textnew");
  const boost::json::object status = box->status();
  ASSERT_TRUE(status.contains("file_events")) << boost::json::serialize(status);
  EXPECT_EQ(boost::json::serialize(status.at("file_events")), R"({"folders":1,"precision":"exact"})");
  struct stat now{};
  ::stat((source() / "file").c_str(), &now);
  EXPECT_EQ(now.st_size, 8);
  EXPECT_OK(docker({"rm", "-f", "watcher"}));
}

TEST_F(Events, ReachWhoMayOnlyRead) {
  ASSERT_NO_FATAL_FAILURE(watch("reader", "cwnd", {"/src"}, ":ro"));
  put(source() / "file", "again");
  expect_said("reader", "c\t/src\tfile");
  EXPECT_OK(docker({"rm", "-f", "reader"}));
}

TEST_F(Events, AreAllThereAfterABurst) {
  const char* wished = std::getenv("COLIMA_LIKE_E2E_EVENTS");
  const int many = wished != nullptr ? std::atoi(wished) : 1'000;  // what an emulated container writes takes its time
  const std::string last = "\t" + std::to_string(many - 1) + "\n";
  fs::create_directory(source() / "many");
  ASSERT_NO_FATAL_FAILURE(watch("counter", "n", {"/src/many"}));
  for (int i = 0; i < many; ++i) put(source() / "many" / std::to_string(i), "x");
  // The whole log is asked for once the last event is there: to print it takes the machine as long as many events do.
  EXPECT_TRUE(eventually(
      240s, [&] { return docker({"logs", "--tail", "100", "counter"}).out.find(last) != std::string::npos; }));
  std::set<std::string> seen;
  auto all = [&seen, many] {
    seen.clear();
    std::istringstream lines(said("counter"));
    for (std::string line; std::getline(lines, line);)
      if (const auto tab = line.rfind('\t'); tab != std::string::npos) seen.insert(line.substr(tab));
    return seen.size() >= static_cast<std::size_t>(many);
  };
  EXPECT_TRUE(eventually(60s, all)) << seen.size() << " of " << many;
  EXPECT_OK(docker({"rm", "-f", "counter"}));
}

TEST_F(Events, WaitForAMachineThatSleepsAndDoNotWakeIt) {
  ASSERT_NO_FATAL_FAILURE(watch("sleeper", "cnd", {"/src"}));
  ASSERT_OK(cl({"suspend"}));
  put(source() / "while asleep", "1");
  fs::remove(source() / "file");
  EXPECT_FALSE(eventually(3s, [] { return box->state() != "suspended"; })) << box->state();
  ASSERT_OK(box->cl({"start"}, {}, boot_limit));
  expect_said("sleeper", "n\t/src\twhile asleep");
  expect_said("sleeper", "d\t/src\tfile");
  EXPECT_OK(docker({"rm", "-f", "sleeper"}));
}

TEST_F(Events, AreNobodysOnceTheContainersAreGoneOrTheyAreTurnedOff) {
  ASSERT_NO_FATAL_FAILURE(watch("last", "cnd", {"/src"}));
  ASSERT_NO_FATAL_FAILURE(watch("beside", "cnd", {"/src"}));
  EXPECT_OK(cl({"config", "set", "file_events", "false"}));
  EXPECT_OK(cl({"apply"}));
  EXPECT_FALSE(box->status().contains("file_events"));
  put(source() / "unseen", "1");
  EXPECT_OK(cl({"config", "set", "file_events", "true"}));
  EXPECT_OK(cl({"apply"}));
  EXPECT_TRUE(box->status().contains("file_events"));
  put(source() / "seen", "1");
  expect_said("last", "n\t/src\tseen");
  EXPECT_EQ(said("last").find("unseen"), std::string::npos);
  EXPECT_OK(docker({"rm", "-f", "beside", "last"}));
  EXPECT_OK(cl({"config", "unset", "file_events"}));
  EXPECT_TRUE(eventually(10s, [] { return !box->status().contains("file_events"); }));
}

}  // namespace
}  // namespace cl::e2e
