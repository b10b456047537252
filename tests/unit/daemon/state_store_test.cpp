#include "src/daemon/state_store.hpp"

#include <gtest/gtest.h>

#include <boost/asio/post.hpp>

#include "profiles/store.hpp"
#include "src/base/file_lock.hpp"
#include "tests/support/run.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl {
namespace {

using namespace std::chrono_literals;

class Store : public ::testing::Test {
 protected:
  Store() {
    home_.profiles = directory_ / "home";
    paths_ = profile_paths(home_, "default");
    create_profile(paths_);
  }
  StateStore::Write write() {
    return [this](const ProfilePaths&, const State& state) {
      ++tries_;
      if (full_) throw Error(Errc::io, "cannot write").because("No space left on device");
      last_ = state.phase;
    };
  }

  test::TempDir directory_;
  Home home_;
  ProfilePaths paths_;
  std::atomic<bool> full_ = false;
  std::atomic<int> tries_ = 0;
  std::string last_;
};

TEST_F(Store, WritesAllChangesOfOneMomentAtOnce) {
  auto work = [this]() -> asio::awaitable<void> {
    StateStore store(co_await asio::this_coro::executor, paths_, write(), {});
    store.start();
    store.edit().phase = "starting";
    store.edit().phase = "running";
    co_await store.flush();
    EXPECT_EQ(last_, "running");
    EXPECT_EQ(tries_, 1);
    co_await store.stop();
  };
  test::run(work());
}

TEST_F(Store, TriesAgainUntilItWorksAndShowsItMeanwhile) {
  auto work = [this]() -> asio::awaitable<void> {
    StateStore store(co_await asio::this_coro::executor, paths_, write(), {1ms, 2ms});
    store.start();
    full_ = true;
    store.edit().phase = "running";
    co_await store.try_flush(1s);
    EXPECT_NE(store.unsaved().find("No space left"), std::string::npos);
    EXPECT_TRUE(FileLock::is_held(paths_.run_directory)) << "other processes cannot see it";
    full_ = false;
    while (!store.unsaved().empty()) co_await sleep_for(1ms);
    EXPECT_EQ(last_, "running");
    EXPECT_FALSE(FileLock::is_held(paths_.run_directory));
    co_await store.stop();
  };
  test::run(work());
}

TEST_F(Store, AFlushThrowsWhyNothingIsWritten) {
  auto work = [this]() -> asio::awaitable<std::string> {
    StateStore store(co_await asio::this_coro::executor, paths_, write(), {1h, 1h});
    store.start();
    full_ = true;
    store.edit().phase = "running";
    std::string why;
    try {
      co_await store.flush();
    } catch (const Error& error) {
      why = error.cause();
    }
    full_ = false;
    co_await store.flush();  // does not wait for the hour to pass
    EXPECT_EQ(last_, "running");
    co_await store.stop();
    co_return why;
  };
  EXPECT_EQ(test::run(work()), "No space left on device");
}

TEST_F(Store, AFlushDoesNotWaitAfterAnOlderWriteThatFails) {
  std::atomic<bool> begun = false, may_fail = false;
  auto first_fails = [&](const ProfilePaths&, const State& state) {
    if (++tries_ == 1) {
      begun = true;
      may_fail.wait(false);
      throw Error(Errc::io, "cannot write").because("No space left on device");
    }
    last_ = state.phase;
  };
  auto work = [&]() -> asio::awaitable<void> {
    StateStore store(co_await asio::this_coro::executor, paths_, first_fails, {1h, 1h});
    store.start();
    store.edit().phase = "starting";
    while (!begun) co_await sleep_for(1ms);
    store.edit().phase = "running";
    auto let_it_fail = [&may_fail] {
      may_fail = true;
      may_fail.notify_all();
    };
    asio::post(co_await asio::this_coro::executor, let_it_fail);  // once flush() waits
    co_await store.flush();
    EXPECT_EQ(last_, "running");
    EXPECT_EQ(tries_, 2);
    co_await store.stop();
  };
  test::run(work());
}

}  // namespace
}  // namespace cl
