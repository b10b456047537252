#include "src/daemon/services/trim.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>

#include "src/base/file.hpp"
#include "src/base/unique_fd.hpp"
#include "tests/unit/daemon/session_lab.hpp"

namespace cl {
namespace {

using namespace std::chrono_literals;
using test::outcome;
using test::SessionLab;
using test::until;

constexpr std::uint64_t mib = 1 << 20;
const fs::file_time_type long_ago{};

TEST(TrimPolicy, AsksAMachineThatHasWritten) {
  TrimPolicy policy;
  EXPECT_TRUE(policy.worth_asking(long_ago));
  policy.quiet();
  EXPECT_FALSE(policy.worth_asking(long_ago));
  EXPECT_TRUE(policy.worth_asking(long_ago + 1s));
  EXPECT_TRUE(policy.worth_asking(long_ago + 1s)) << "the last look came to no end";
}

TEST(TrimPolicy, LearnsFromTwoPassesWhatTheFileSystemTakesItself) {
  TrimPolicy policy;
  EXPECT_TRUE(policy.due(100 * mib, 80 * mib)) << "nobody knows what a machine had freed before";
  policy.passed(100 * mib, 80 * mib);
  EXPECT_TRUE(policy.worth_asking(long_ago));
  EXPECT_TRUE(policy.due(90 * mib, 80 * mib)) << "what was freed last may not have been committed";
  policy.passed(90 * mib, 80 * mib);
  EXPECT_FALSE(policy.due(90 * mib, 80 * mib));
  EXPECT_FALSE(policy.due(790 * mib, 780 * mib)) << "more is in use";
  EXPECT_FALSE(policy.due(790 * mib, 750 * mib)) << "that little is not worth it";
  EXPECT_TRUE(policy.due(790 * mib, 480 * mib));
  EXPECT_FALSE(policy.due(90 * mib, 200 * mib)) << "what the guest has not written yet is in use, too";
}

/// A guest's file system on the lab's data disk.
struct FileSystem {
  explicit FileSystem(SessionLab& lab) : disk(lab.paths.data_disk) {
    lab.guest->agent = [this](std::string_view what) {
      asked += std::string(what) + "\n";
      if (what == "statistics")
        return "cpu 1 2 3 4 5 2\ndisk / 9 9\ndisk /var/lib/colima-like 100000000000 " +
               std::to_string(100'000'000'000 - in_use) + "\n";
      if (what == "sync /var/lib/colima-like") return std::string("/var/lib/colima-like ok\n");
      if (refuses) return std::string("/var/lib/colima-like error Operation not supported\n");
      take(in_use);
      return std::string("/var/lib/colima-like ok 12345\n");
    };
  }
  /// Has this computer's file take so many bytes, and in_use of them be in use.
  void use(std::uint64_t bytes) {
    in_use = bytes;
    if (allocated_bytes(disk) < bytes) take(bytes);
    fs::last_write_time(disk, fs::file_time_type::clock::now());
  }
  void take(std::uint64_t bytes) const {
    const UniqueFd file(::open(disk.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (::ftruncate(file.get(), static_cast<off_t>(bytes)) != 0 ||
        ::posix_fallocate(file.get(), 0, static_cast<off_t>(bytes)) != 0)
      throw std::runtime_error("no space for the test");
  }
  std::ptrdiff_t count(std::string_view what) const {
    std::ptrdiff_t found = 0;
    for (std::size_t at = 0; (at = asked.find(what, at)) != std::string::npos; ++at) ++found;
    return found;
  }

  fs::path disk;
  std::uint64_t in_use = 1 * mib;
  bool refuses = false;
  std::string asked;
};

/// Runs a scenario with a machine that runs.
template <class Scenario>
void play_running(SessionLab& lab, Scenario scenario) {
  auto work = [&](Session& session) -> asio::awaitable<void> {
    EXPECT_EQ(co_await outcome(session.start({})), "");
    co_await scenario(session);
  };
  test::play(lab, work);
}

TrimTimings quick() {
  TrimTimings timings;
  timings.look = 10ms;
  timings.quiet = 20ms;
  return timings;
}

TEST(Trim, GivesBackWhatTheGuestHasFreed) {
  SessionLab lab;
  lab.trim = quick();
  FileSystem files(lab);
  auto life = [&](Session&) -> asio::awaitable<void> {
    files.use(100 * mib);
    co_await until([&] { return files.count("trim") >= 2; });
    EXPECT_GE(allocated_bytes(files.disk), 100 * mib);
    files.use(30 * mib);
    co_await until([&] { return allocated_bytes(files.disk) < 31 * mib; });
  };
  play_running(lab, life);
}

TEST(Trim, AsksAMachineThatWritesNothingNothing) {
  SessionLab lab;
  lab.trim = quick();
  FileSystem files(lab);
  auto life = [&](Session&) -> asio::awaitable<void> {
    co_await until([&] { return files.count("trim") >= 2; });
    co_await sleep_for(30ms);  // the looks of the last pass
    const std::string before = files.asked;
    co_await sleep_for(100ms);
    EXPECT_EQ(files.asked, before);
  };
  play_running(lab, life);
}

TEST(Trim, WaitsForAMomentInWhichNobodyWrites) {
  SessionLab lab;
  lab.trim = quick();
  lab.trim.quiet = 300ms;
  lab.trim.patience = 1000;
  FileSystem files(lab);
  auto life = [&](Session&) -> asio::awaitable<void> {
    for (int i = 0; i < 50; ++i) {
      files.use(2 * mib);
      co_await sleep_for(10ms);
    }
    EXPECT_GT(files.count("statistics"), 0);
    EXPECT_EQ(files.count("trim"), 0);
    co_await until([&] { return files.count("trim") > 0; });
  };
  play_running(lab, life);
}

TEST(Trim, DoesNotWaitForThatForEver) {
  SessionLab lab;
  lab.trim = quick();
  lab.trim.patience = 3;
  FileSystem files(lab);
  auto life = [&](Session&) -> asio::awaitable<void> {
    co_await until([&] {
      files.use(2 * mib);
      return files.count("trim") > 0;
    });
  };
  play_running(lab, life);
}

TEST(Trim, OfADiskThatCannotIsTriedOnce) {
  SessionLab lab;
  lab.trim = quick();
  FileSystem files(lab);
  files.refuses = true;
  auto life = [&](Session& session) -> asio::awaitable<void> {
    co_await until([&] { return files.count("trim") > 0; });
    files.use(2 * mib);
    co_await sleep_for(100ms);
    EXPECT_EQ(files.count("trim"), 1);
    EXPECT_EQ(co_await outcome(session.stop(false)), "");
    EXPECT_EQ(files.count("trim"), 1);
  };
  play_running(lab, life);
}

TEST(Trim, ComesBeforeAStop) {
  SessionLab lab;
  lab.trim.look = 1h;
  FileSystem files(lab);
  auto life = [&](Session& session) -> asio::awaitable<void> {
    files.use(100 * mib);
    files.use(10 * mib);
    EXPECT_EQ(co_await outcome(session.stop(false)), "");
    EXPECT_NE(files.asked.find("statistics\nsync /var/lib/colima-like\ntrim /var/lib/colima-like\nstat"),
              std::string::npos)
        << files.asked;
    EXPECT_LT(allocated_bytes(files.disk), 11 * mib);
  };
  play_running(lab, life);
}

TEST(Trim, OfAGuestThatIsLostHoldsNoStopUp) {
  SessionLab lab;
  lab.trim.look = 1h;
  lab.trim.before_stop = 50ms;
  lab.guest->agent = [](std::string_view) -> std::string {
    throw Error(Errc::io, "the connection in the guest broke");
  };
  auto life = [&](Session& session) -> asio::awaitable<void> {
    EXPECT_EQ(co_await outcome(session.stop(false)), "");
    EXPECT_EQ(to_string(session.phase()), "stopped");
  };
  play_running(lab, life);
}

TEST(Trim, RestsWhileTheMachineIsSuspendedAndGoesOn) {
  SessionLab lab;
  lab.trim = quick();
  FileSystem files(lab);
  auto life = [&](Session& session) -> asio::awaitable<void> {
    co_await until([&] { return files.count("trim") >= 2; });
    EXPECT_EQ(co_await outcome(session.suspend()), "");
    files.use(2 * mib);
    const std::string before = files.asked;
    co_await sleep_for(100ms);
    EXPECT_EQ(files.asked, before);
  };
  play_running(lab, life);
}

}  // namespace
}  // namespace cl
