#include "src/base/task_group.hpp"

#include <gtest/gtest.h>

#include <boost/asio/post.hpp>

#include "src/base/file.hpp"
#include "src/base/log.hpp"
#include "tests/support/run.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl {
namespace {

using test::run;

asio::awaitable<void> append(std::string& log, std::string text) {
  log += text;
  co_return;
}
asio::awaitable<void> wait_for_ever(std::string& log, std::string name) {
  Event event(co_await asio::this_coro::executor);
  try {
    co_await event.wait();
  } catch (const boost::system::system_error&) {
    log += name + " cancelled;";
    throw;
  }
}
asio::awaitable<void> clean_up_slowly(std::string& log) {
  auto executor = co_await asio::this_coro::executor;
  Event event(executor);
  try {
    co_await event.wait();
  } catch (const boost::system::system_error&) {
  }
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  co_await sleep_for(std::chrono::milliseconds(1));
  log += "cleaned up;";
}
asio::awaitable<void> fail(std::string what) {
  throw Error(Errc::io, std::move(what)).because("of a test");
  co_return;
}
asio::awaitable<void> fail_oddly() {
  throw std::runtime_error("odd");
  co_return;
}

asio::awaitable<void> stop_waits(std::string& log) {
  auto executor = co_await asio::this_coro::executor;
  TaskGroup tasks(executor);
  tasks.spawn("one", wait_for_ever(log, "one"));
  tasks.spawn("two", wait_for_ever(log, "two"));
  tasks.spawn("three", clean_up_slowly(log));
  co_await asio::post(executor, asio::use_awaitable);
  co_await tasks.stop();
  log += std::to_string(tasks.size()) + " left";
}

TEST(TaskGroup, StopCancelsEveryTaskAndWaitsForItsCleanUp) {
  std::string log;
  run(stop_waits(log));
  EXPECT_EQ(log, "one cancelled;two cancelled;cleaned up;0 left");
}

asio::awaitable<void> spawn_after_stop(std::string& log) {
  auto executor = co_await asio::this_coro::executor;
  TaskGroup tasks(executor);
  co_await tasks.stop();
  tasks.spawn("late", append(log, "ran"));
  co_await asio::post(executor, asio::use_awaitable);
  co_await tasks.stop();
  log += std::to_string(tasks.size());
}

TEST(TaskGroup, StartsNothingAfterStop) {
  std::string log;
  run(spawn_after_stop(log));
  EXPECT_EQ(log, "0");
}

asio::awaitable<void> stop_before_the_first_turn(std::string& log) {
  TaskGroup tasks(co_await asio::this_coro::executor);
  for (int i = 0; i < 3; ++i) tasks.spawn("task", wait_for_ever(log, "x"));
  co_await tasks.stop();
  log += std::to_string(tasks.size()) + " left";
}

TEST(TaskGroup, CanBeStoppedBeforeItsTasksEverRan) {
  std::string log;
  run(stop_before_the_first_turn(log));
  EXPECT_TRUE(log.ends_with("0 left")) << log;
}

asio::awaitable<void> two_stops(std::string& log) {
  auto executor = co_await asio::this_coro::executor;
  TaskGroup tasks(executor), stoppers(executor);
  tasks.spawn("slow", clean_up_slowly(log));
  co_await asio::post(executor, asio::use_awaitable);
  stoppers.spawn("stopper", tasks.stop());
  co_await tasks.stop();
  while (stoppers.size() > 0) co_await asio::post(executor, asio::use_awaitable);
  log += "both returned";
}

TEST(TaskGroup, MayBeStoppedTwiceAtTheSameTime) {
  std::string log;
  run(two_stops(log));
  EXPECT_EQ(log, "cleaned up;both returned");
}

asio::awaitable<void> spawn_failures() {
  auto executor = co_await asio::this_coro::executor;
  TaskGroup tasks(executor);
  std::string unused;
  tasks.spawn("the relay", fail("cannot copy"));
  tasks.spawn("the oddity", fail_oddly());
  tasks.spawn("the patient one", wait_for_ever(unused, "x"));
  while (tasks.size() > 1) co_await asio::post(executor, asio::use_awaitable);
  co_await tasks.stop();
}

TEST(TaskGroup, LogsAFailureWithTheNameOfItsTaskAndNoCancellation) {
  test::TempDir dir;
  log::open(dir / "log", log::Level::debug);
  run(spawn_failures());
  const std::string text = read_file(dir / "log");
  EXPECT_NE(text.find("the relay: cannot copy: of a test"), std::string::npos) << text;
  EXPECT_NE(text.find("the oddity: odd"), std::string::npos) << text;
  EXPECT_EQ(text.find("patient"), std::string::npos) << text;
}

/// Runs permanent work in a group until the group says that one has ended, or was stopped.
asio::awaitable<std::vector<std::string>> losses(std::vector<asio::awaitable<void>> works) {
  auto executor = co_await asio::this_coro::executor;
  std::vector<std::string> told;
  std::string unused;
  TaskGroup tasks(executor);
  tasks.on_permanent_end([&told](const Error& error) { told.push_back(one_line(error)); });
  for (auto& work : works) tasks.spawn_permanent("the clock", std::move(work));
  tasks.spawn_permanent("the patient one", wait_for_ever(unused, "x"));
  tasks.spawn("no permanent one", fail("as it may"));
  while (tasks.size() > 1) co_await asio::post(executor, asio::use_awaitable);
  co_await tasks.stop();
  co_return told;
}
std::vector<std::string> losses_of(asio::awaitable<void> work) {
  std::vector<asio::awaitable<void>> works;
  works.push_back(std::move(work));
  return run(losses(std::move(works)));
}
asio::awaitable<void> cancel_itself() {
  throw boost::system::system_error(asio::error::operation_aborted);
  co_return;
}

TEST(TaskGroup, TellsOfAPermanentTaskThatEndsByItself) {
  std::string log;
  using Told = std::vector<std::string>;
  EXPECT_EQ(losses_of(append(log, "x")), Told{"'the clock' ended by itself"});
  EXPECT_EQ(losses_of(fail("no sun")), Told{"'the clock' ended by itself: no sun: of a test"});
  EXPECT_EQ(losses_of(fail_oddly()), Told{"'the clock' ended by itself: something failed that should not: odd"});
  EXPECT_EQ(losses_of(cancel_itself()), Told{"'the clock' ended by itself: it was interrupted"});
}

TEST(TaskGroup, StopEndsPermanentTasksWithoutAWord) { EXPECT_TRUE(run(losses({})).empty()); }

asio::awaitable<bool> stop_at_a_loss() {
  auto executor = co_await asio::this_coro::executor;
  TaskGroup tasks(executor), stoppers(executor);
  std::string log;
  tasks.on_permanent_end([&](const Error&) { stoppers.spawn("stopper", tasks.stop()); });
  tasks.spawn_permanent("a", append(log, "a"));
  tasks.spawn_permanent("b", wait_for_ever(log, "b"));
  while (tasks.size() + stoppers.size() > 0) co_await asio::post(executor, asio::use_awaitable);
  co_return log == "ab cancelled;";
}

TEST(TaskGroup, MayBeStoppedByWhoIsTold) { EXPECT_TRUE(run(stop_at_a_loss())); }

asio::awaitable<void> abandon(std::string& log) {
  TaskGroup tasks(co_await asio::this_coro::executor);
  tasks.spawn("quick", append(log, "ran"));
  co_return;  // against the owner's rule: the task ends after the group is gone
}

TEST(TaskGroup, DoesNotDangleWhenItGoesBeforeItsTasks) {
  std::string log;
  EXPECT_NO_THROW(run(abandon(log)));
}

}  // namespace
}  // namespace cl
