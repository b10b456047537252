#include "src/base/blocking.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <cstdlib>
#include <thread>
#include <vector>

#include "src/base/task_group.hpp"
#include "src/base/unique_fd.hpp"
#include "tests/support/run.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl {
namespace {

using namespace std::chrono_literals;
using test::run;

/// A file whose open() hangs as one on a dead mount does, until end() is called.
class Hung {
 public:
  Hung() { ::mkfifo(path().c_str(), 0600); }
  Hung(const Hung&) = delete;
  Hung& operator=(const Hung&) = delete;
  ~Hung() { end(); }

  std::filesystem::path path() const { return directory_ / "hung"; }
  void end() {
    if (!ends_) ends_.reset(::open(path().c_str(), O_RDWR | O_CLOEXEC));
  }

 private:
  test::TempDir directory_;
  UniqueFd ends_;
};

/// For blocking(): returns when the file no longer hangs.
auto open_of(const Hung& hung) {
  return [path = hung.path().string()] { return ::close(::open(path.c_str(), O_RDONLY | O_CLOEXEC)); };
}

asio::awaitable<void> until_threads(const BlockingThreads& threads, std::size_t count) {
  while (threads.count() != count) co_await sleep_for(1ms);  // the end of a thread is no event of the loop
}

asio::awaitable<std::thread::id> where_it_runs() {
  auto work = [] { return std::this_thread::get_id(); };
  co_return co_await blocking(work);
}

TEST(Blocking, RunsOnAnotherThread) { EXPECT_NE(run(where_it_runs()), std::this_thread::get_id()); }

asio::awaitable<std::string> takes_and_returns_what_only_moves(std::thread::id& resumed_on) {
  auto work = [text = std::make_unique<std::string>("hello")]() mutable { return std::move(text); };
  const std::unique_ptr<std::string> text = co_await blocking(std::move(work));
  resumed_on = std::this_thread::get_id();
  co_return *text;
}

TEST(Blocking, TakesAndReturnsWhatCanOnlyBeMoved) {
  std::thread::id resumed_on;
  EXPECT_EQ(run(takes_and_returns_what_only_moves(resumed_on)), "hello");
  EXPECT_EQ(resumed_on, std::this_thread::get_id());
}

asio::awaitable<void> throws() {
  auto work = []() -> int { throw Error(Errc::io, "no such disk"); };
  co_await blocking(work);
}

TEST(Blocking, ThrowsWhatTheWorkThrew) {
  try {
    run(throws());
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "no such disk");
  }
}

/// A call that hangs with nobody who waits for it; returns when it has begun.
asio::awaitable<void> leave_a_call(BlockingThreads& threads, const Hung& hung) {
  const auto begun = std::make_shared<std::atomic<bool>>(false);
  auto work = [begun, open = open_of(hung)] {
    *begun = true;
    open();
  };
  TaskGroup tasks(co_await asio::this_coro::executor);
  tasks.spawn("a call that hangs", threads.run(Files::users, std::move(work)));
  while (!*begun) co_await sleep_for(1ms);
  co_await tasks.stop();
}

asio::awaitable<int> beside(BlockingThreads& threads, std::vector<const Hung*> hung, Files files) {
  for (const Hung* one : hung) co_await leave_a_call(threads, *one);
  auto work = [] { return 42; };
  co_return co_await threads.run(files, work);
}

TEST(Blocking, ACallThatHangsHoldsUpNoOther) {
  const Hung hung;
  BlockingThreads threads({});
  EXPECT_EQ(run(beside(threads, {&hung}, Files::users)), 42);
}

/// What the abandoned work still uses is its own; ASan would tell otherwise.
TEST(Blocking, WorkThatOutlivesItsLoopTouchesNothingOfIt) {
  BlockingThreads threads({.idle = 1ms});
  Hung hung;
  {
    auto io = std::make_unique<asio::io_context>(1);
    std::vector<std::string> values{"a", "b"};
    auto work = [open = open_of(hung), values] {
      open();
      return values;
    };
    asio::co_spawn(*io, threads.run(Files::users, std::move(work)),
                   [](std::exception_ptr, std::vector<std::string>) { ADD_FAILURE() << "the work is not done"; });
    io->poll();
    io.reset();
  }
  hung.end();  // for the thread that opens it later, too
  run(until_threads(threads, 0));
}

asio::awaitable<void> many(BlockingThreads& threads, std::vector<int>& done) {
  TaskGroup tasks(co_await asio::this_coro::executor);
  auto one = [&](int number) -> asio::awaitable<void> {
    auto work = [number] { return number; };
    done.push_back(co_await threads.run(Files::ours, work));
  };
  for (int i = 0; i < 1'000; ++i) tasks.spawn("one", one(i));
  while (tasks.size() > 0) co_await asio::post(asio::use_awaitable);
}

TEST(Blocking, MoreCallsThanThreadsAreServedInTurn) {
  BlockingThreads threads({.threads = 3});
  std::vector<int> done;
  run(many(threads, done));
  EXPECT_EQ(done.size(), 1'000);
  EXPECT_LE(threads.count(), 3);
}

TEST(Blocking, MountsThatHangLeaveThreadsToOurOwnFiles) {
  const Hung one, other;
  BlockingThreads threads({.threads = 3, .users = 2});
  EXPECT_EQ(run(beside(threads, {&one, &other}, Files::ours)), 42);
}

TEST(Blocking, ACallThatGetsNoThreadSaysSo) {
  const Hung one, other;
  BlockingThreads threads({.threads = 3, .users = 2, .turn = 20ms});
  try {
    run(beside(threads, {&one, &other}, Files::users));
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::timed_out);
    EXPECT_STREQ(error.what(), "files on this computer cannot be reached");
  }
}

asio::awaitable<void> give_up_before_its_turn(BlockingThreads& threads, const Hung& hung, std::shared_ptr<int> uses) {
  co_await leave_a_call(threads, hung);
  auto work = [uses = std::move(uses)] { ++*uses; };
  try {
    co_await with_timeout(1ms, "waiting", threads.run(Files::users, std::move(work)));
  } catch (const Error&) {
  }
}

/// The calls of a client that tries again and again do not pile up, nor do they run when the mount is back.
TEST(Blocking, ACallThatIsCancelledBeforeItBeganIsDropped) {
  Hung hung;
  BlockingThreads threads({.threads = 1, .users = 1});
  const auto uses = std::make_shared<int>();
  run(give_up_before_its_turn(threads, hung, uses));
  EXPECT_EQ(uses.use_count(), 1);
  hung.end();
  auto work = [] {};
  run(threads.run(Files::users, work));
  EXPECT_EQ(*uses, 0);
}

TEST(Blocking, IdleThreadsEnd) {
  BlockingThreads threads({.idle = 1ms});
  auto work = [] {};
  run(threads.run(Files::ours, work));
  run(until_threads(threads, 0));
}

TEST(Blocking, SignalsAreLeftToTheLoop) {
  BlockingThreads threads({});
  auto work = [] {
    sigset_t blocked;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
    return ::sigismember(&blocked, SIGTERM) == 1;
  };
  EXPECT_TRUE(run(threads.run(Files::ours, work)));
  sigset_t ours;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &ours);
  EXPECT_EQ(::sigismember(&ours, SIGTERM), 0);
}

asio::awaitable<std::string> look(const Hung& hung) {
  try {
    auto work = open_of(hung);
    co_await look_at(hung.path(), std::move(work), 20ms);
  } catch (const Error& error) {
    co_return error.cause();
  }
  co_return "it answers";
}

TEST(LookAt, DoesNotAskAgainWhatHangs) {
  Hung hung;
  const std::string late = "looking at it took more than 20 ms";
  EXPECT_EQ(run(look(hung)), late);
  std::string again = late;  // on a loaded computer a look is given up before its call begins, and then nothing hangs
  for (int i = 0; i < 5 && again == late; ++i) again = run(look(hung));
  EXPECT_EQ(again, "an earlier look at it still hangs");
  hung.end();
  while (run(look(hung)) != "it answers") {
  }
}

TEST(BlockingDeathTest, ACallThatHangsDoesNotHoldUpTheEndOfTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const Hung hung;
  auto end = [&hung] {
    run(leave_a_call(BlockingThreads::shared(), hung));
    std::exit(3);
  };
  EXPECT_EXIT(end(), ::testing::ExitedWithCode(3), "");
}

}  // namespace
}  // namespace cl
