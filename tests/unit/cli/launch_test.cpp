#include "src/cli/launch.hpp"

#include <gtest/gtest.h>
#include <signal.h>

#include "src/base/file_lock.hpp"
#include "tests/support/run.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/unit/cli/stand_in_daemon.hpp"

namespace cl::cli {
namespace {

using namespace std::chrono_literals;

/// Starting a daemon that is a shell script: $1 is "daemon", $2 the profile, $3 the descriptor to write to.
class LaunchDaemon : public ::testing::Test {
 protected:
  LaunchDaemon() : paths_(profile_paths({home_.path(), home_.path()}, "default")) {
    create_profile(paths_);
    write_atomically(paths_.daemon_log, "an older daemon's line\n");
    launch_.program = home_ / "daemon";
    launch_.patience = 20s;
  }
  /// "code: what: cause" of why it is not reached.
  std::string why_not(const std::string& script) {
    write_atomically(launch_.program, "#!/bin/bash\necho $$ >" + (home_ / "pid").string() + "\n" + script, 0700);
    // The connection does not outlive the loop that it was made on.
    auto reach = [this]() -> asio::awaitable<void> { co_await reach_daemon(paths_, false, launch_); };
    try {
      test::run(reach(), 60s);
    } catch (const Error& error) {
      return std::string(to_string(error.code())) + ": " + one_line(error);
    }
    return "reached";
  }
  bool lives() const { return ::kill(static_cast<pid_t>(std::stol(read_file(home_ / "pid"))), 0) == 0; }

  test::TempDir home_;
  ProfilePaths paths_;
  Launch launch_;
};

TEST_F(LaunchDaemon, TellsWhyItFails) {
  EXPECT_EQ(why_not(R"(echo '{"error":{"code":"io","what":"no socket","cause":"a folder","remedy":"x"}}' >/dev/fd/$3)"),
            "io: no socket: a folder");
}

TEST_F(LaunchDaemon, TellsItsOwnLastWordsWhenItDies) {
  const std::string begin = "internal: the daemon of profile 'default' ended while it started: ";
  EXPECT_EQ(why_not("echo 'no sun today' >&2; exit 3"), begin + "exit code 3: no sun today");
  EXPECT_EQ(why_not("echo 'nor now' >&2; kill -SEGV $$"), begin + "signal 11: nor now");
  EXPECT_EQ(why_not("exit 4"), begin + "exit code 4") << "and nobody else's";
}

TEST_F(LaunchDaemon, EndsOneThatHangs) {
  launch_.patience = 300ms;
  EXPECT_EQ(why_not("echo 'about to hang' >&2; exec sleep 100"),
            "timed_out: the daemon of profile 'default' did not come up in time and was ended: about to hang");
  EXPECT_FALSE(lives());
}

TEST_F(LaunchDaemon, EndsOneThatHangsAfterItSaidWhyOrNothing) {
  launch_.last_patience = 100ms;
  EXPECT_EQ(why_not(R"(echo '{"error":{"code":"io","what":"no socket"}}' >/dev/fd/$3; exec sleep 100)"),
            "io: no socket");
  EXPECT_FALSE(lives());
  EXPECT_EQ(why_not("eval \"exec $3>&-\"; exec sleep 100"),
            "internal: the daemon of profile 'default' ended while it started: signal 9");
  EXPECT_FALSE(lives());
}

TEST_F(LaunchDaemon, DoesNotTakeNonsenseForAnAnswer) {
  EXPECT_TRUE(why_not("echo nonsense >/dev/fd/$3").starts_with("protocol: the daemon said something that cannot be"));
}

TEST_F(LaunchDaemon, WaitsForOneThatHoldsTheLockAndDoesNotListenYet) {
  launch_.busy_patience = 100ms;
  const auto lock = FileLock::try_acquire(paths_.lock);
  EXPECT_TRUE(why_not("exit 5").starts_with("busy: the daemon of profile 'default' does not answer"));
  EXPECT_FALSE(fs::exists(home_ / "pid")) << "a second one was started";
}

TEST_F(LaunchDaemon, ConnectsToOneThatWasQuicker) {
  const StandInDaemon daemon(paths_, 0);
  EXPECT_EQ(why_not("exit 5"), "reached");
}

}  // namespace
}  // namespace cl::cli
