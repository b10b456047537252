#include "vm/image/build.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/base/file.hpp"
#include "src/base/file_lock.hpp"
#include "src/base/platform.hpp"
#include "tests/support/run.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

/// A stand-in recipe: a few lines of shell in place of vm/guest_image.
class RecipeRuns : public ::testing::Test {
 protected:
  RecipeRun prepare(const std::string& script) {
    RecipeRun run;
    run.recipe = home_.path();
    run.out = home_ / "out";
    run.log = home_ / "build.log";
    run.key.arch = "x86_64";
    run.mirror = "http://mirror.invalid/debian";
    run.limit = 60s;
    lock_ = FileLock::try_acquire(home_ / "lock");
    run.lock_fd = lock_->fd();
    fs::create_directory(run.out);
    write_atomically(home_ / "build.sh", script);
    return run;
  }
  OnPhase recorder() {
    return [this](std::string_view phase) { phases_.emplace_back(phase); };
  }
  /// Cancels the run when the recipe tells its first phase. True if it had to be cancelled.
  static bool interrupt_at_first_phase(RecipeRun run) {
    auto work = [](RecipeRun mine) -> asio::awaitable<bool> {
      auto executor = co_await asio::this_coro::executor;
      Event here(executor);
      OnPhase on_phase = [&](std::string_view) { here.set(); };
      auto running = run_recipe(std::move(mine), std::move(on_phase));
      auto race = asio::experimental::make_parallel_group(asio::co_spawn(executor, std::move(running), asio::deferred),
                                                          asio::co_spawn(executor, here.wait(), asio::deferred));
      auto [order, failure, unused] = co_await race.async_wait(asio::experimental::wait_for_one(), asio::use_awaitable);
      co_return order[0] == 1 && failure;
    };
    return test::run(work(std::move(run)));
  }

  test::TempDir home_;
  std::optional<FileLock> lock_;
  std::vector<std::string> phases_;
};

TEST_F(RecipeRuns, GetTheContractsEnvironmentAndTellTheirPhases) {
  RecipeRun run = prepare(
      "echo \"$ARCH $VARIANT $SUITE $MIRROR\" > \"$OUT/seen\"\n"
      "echo noise\necho '@phase one'\necho '@phase two words'\n");
  OnPhase record = recorder();
  test::run(run_recipe(std::move(run), std::move(record)));
  EXPECT_EQ(read_file(home_ / "out/seen"), "amd64 docker trixie http://mirror.invalid/debian\n");
  EXPECT_EQ(phases_, (std::vector<std::string>{"one", "two words"}));
}

TEST_F(RecipeRuns, TellWhatTheHostLacks) {
  RecipeRun run = prepare("echo 'mmdebstrap is not installed: apt-get install mmdebstrap' >&2; exit 3\n");
  try {
    test::run(run_recipe(std::move(run), {}));
    ADD_FAILURE() << "it worked";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::host_requirement);
    EXPECT_EQ(error.cause(), "mmdebstrap is not installed: apt-get install mmdebstrap");
  }
}

TEST_F(RecipeRuns, AreEndedGentlyWhenInterrupted) {
  RecipeRun run = prepare(
      "trap 'echo cleaned > \"$OUT/cleaned\"; kill $sleeper; exit 143' TERM\n"
      "sleep 1000 & sleeper=$!\necho '@phase here'\nwait\n");
  EXPECT_TRUE(interrupt_at_first_phase(std::move(run)));
  EXPECT_EQ(read_file(home_ / "out/cleaned"), "cleaned\n");
}

TEST_F(RecipeRuns, AreKilledWithAllTheirProcessesWhenTheyIgnoreThat) {
  RecipeRun run = prepare("trap '' TERM\nsleep 1000 & echo $! > \"$OUT/pid\"\necho '@phase here'\nwait\nsleep 1000\n");
  run.clean_up = 10ms;
  EXPECT_TRUE(interrupt_at_first_phase(std::move(run)));
  const pid_t grandchild = std::stoi(read_file(home_ / "out/pid"));
  EXPECT_NO_THROW(test::run(platform::wait_until_gone(grandchild))) << "it still runs";
}

TEST_F(RecipeRuns, HaveALimit) {
  RecipeRun run = prepare("exec sleep 1000\n");
  run.limit = 10ms;
  try {
    test::run(run_recipe(std::move(run), {}));
    ADD_FAILURE() << "it went to its end";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::timed_out);
  }
}

TEST_F(RecipeRuns, HoldTheLockUntilTheyAreGoneEvenIfTheirBuilderDies) {
  // The builder: a process of its own that is killed in the middle.
  RecipeRun run = prepare(
      "trap 'until [ -e \"$OUT/go\" ]; do sleep 0.01; done; echo cleaned > \"$OUT/cleaned\"; kill $sleeper; exit 143' "
      "TERM\n"
      "sleep 1000 & sleeper=$!\necho started > \"$OUT/started\"\nwait\n");
  const pid_t builder = ::fork();
  if (builder == 0) {
    try {
      test::run(run_recipe(std::move(run), {}));
    } catch (...) {
    }
    ::_exit(0);
  }
  auto until = [](auto done) -> asio::awaitable<void> {
    while (!done()) co_await sleep_for(5ms);
  };
  auto started = [&] { return fs::exists(home_ / "out/started"); };
  test::run(until(started));
  lock_.reset();
  ::kill(builder, SIGKILL);
  ::waitpid(builder, nullptr, 0);
  EXPECT_TRUE(FileLock::is_held(home_ / "lock")) << "the recipe still cleans up";
  write_atomically(home_ / "out/go", "");
  auto released = [&] { return !FileLock::is_held(home_ / "lock"); };
  test::run(until(released));
  EXPECT_EQ(read_file(home_ / "out/cleaned"), "cleaned\n");
}

TEST(RecipeFailure, IsTheMirrorsWhenAptCouldNotReachIt) {
  const Error error = explain_recipe_failure(
      25, "E: Failed to fetch http://m/debian/InRelease  Could not connect to m:80\nE: mmdebstrap failed\n", "http://m",
      "/log");
  EXPECT_EQ(error.code(), Errc::host_requirement);
  EXPECT_STREQ(error.what(), "the Debian mirror http://m cannot be used");
  EXPECT_NE(error.remedy().find("COLIMA_LIKE_MIRROR"), std::string::npos);
  EXPECT_NE(error.cause().find("Could not connect to m:80"), std::string::npos);
}

TEST(RecipeFailure, IsSpaceWhenThereWasNone) {
  const Error error = explain_recipe_failure(1, "dd: error writing 'x': No space left on device\n", "m", "/log");
  EXPECT_EQ(error.code(), Errc::host_requirement);
  EXPECT_NE(std::string(error.what()).find("no space left"), std::string::npos);
}

TEST(RecipeFailure, NamesWhatWorksWhereNamespacesAreRefused) {
  const Error refused =
      explain_recipe_failure(3, "user namespaces do not work here (sysctl kernel.x=0): unshare: EPERM\n", "m", "/log");
  EXPECT_EQ(refused.code(), Errc::host_requirement);
  EXPECT_NE(refused.remedy().find("--image debian-13"), std::string::npos) << refused.remedy();
  EXPECT_EQ(refused.remedy().find("missing"), std::string::npos) << "nothing is";
  EXPECT_TRUE(refuses_namespaces(refused));
  const Error missing = explain_recipe_failure(3, "mke2fs is not installed: apt-get install e2fsprogs\n", "m", "/log");
  EXPECT_NE(missing.remedy().find("missing"), std::string::npos);
  EXPECT_FALSE(refuses_namespaces(missing));
}

TEST(RecipeFailure, IsOtherwiseShownWithItsLastLines) {
  const Error error = explain_recipe_failure(7, "first\nsecond\n", "m", "/where/log");
  EXPECT_EQ(error.code(), Errc::io);
  EXPECT_NE(error.cause().find("second"), std::string::npos);
  EXPECT_NE(error.remedy().find("/where/log"), std::string::npos);
}

}  // namespace
}  // namespace cl
