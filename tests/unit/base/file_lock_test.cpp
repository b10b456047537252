#include "src/base/file_lock.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>

#include "src/base/child.hpp"
#include "src/base/error.hpp"
#include "tests/support/run.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl {
namespace {

using test::TempDir;

TEST(FileLock, ExcludesASecondHolderInTheSameProcess) {
  TempDir dir;
  auto first = FileLock::try_acquire(dir / "lock");
  ASSERT_TRUE(first);
  EXPECT_FALSE(FileLock::try_acquire(dir / "lock"));
  first.reset();
  EXPECT_TRUE(FileLock::try_acquire(dir / "lock"));
}

TEST(FileLock, IsHeldTellsWithoutTakingOrCreating) {
  TempDir dir;
  EXPECT_FALSE(FileLock::is_held(dir / "lock"));
  EXPECT_FALSE(std::filesystem::exists(dir / "lock"));
  auto lock = FileLock::try_acquire(dir / "lock");
  EXPECT_TRUE(FileLock::is_held(dir / "lock"));
  lock.reset();
  EXPECT_FALSE(FileLock::is_held(dir / "lock"));
  EXPECT_TRUE(std::filesystem::exists(dir / "lock"));
}

TEST(FileLock, CreatesAPrivateFile) {
  TempDir dir;
  const auto lock = FileLock::try_acquire(dir / "lock");
  struct stat facts{};
  ASSERT_EQ(::stat((dir / "lock").c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777, 0600u);
}

TEST(FileLock, SaysWhyItCannotOpenTheFile) {
  TempDir dir;
  EXPECT_THROW(FileLock::try_acquire(dir / "none/lock"), Error);
}

TEST(FileLock, MovesWithItsToken) {
  TempDir dir;
  auto lock = FileLock::try_acquire(dir / "lock");
  const FileLock moved = std::move(*lock);
  lock.reset();
  EXPECT_TRUE(FileLock::is_held(dir / "lock"));
  EXPECT_GE(moved.fd(), 0);
}

/// A child that inherits the lock, as a hypervisor does, outlives our own hold on it.
asio::awaitable<std::string> hold_in_child(std::filesystem::path file) {
  auto executor = co_await asio::this_coro::executor;
  auto lock = FileLock::try_acquire(file);
  Command command;
  command.argv = {"cat"};  // ends when its input does
  int input[2];
  if (::pipe2(input, O_CLOEXEC) != 0) throw io_error("pipe", errno);
  UniqueFd read_end(input[0]), write_end(input[1]);
  command.input = read_end.get();
  command.keep = {lock->fd()};
  Child child = Child::start(executor, command);
  lock.reset();
  std::string seen = FileLock::is_held(file) ? "held," : "free,";
  write_end.reset();
  read_end.reset();
  co_await child.wait();
  seen += FileLock::is_held(file) ? "held" : "free";
  co_return seen;
}

TEST(FileLock, IsHeldAsLongAsAChildThatInheritedItLives) {
  TempDir dir;
  EXPECT_EQ(test::run(hold_in_child(dir / "lock")), "held,free");
}

asio::awaitable<bool> held_by_child_that_did_not_inherit(std::filesystem::path file) {
  auto executor = co_await asio::this_coro::executor;
  auto lock = FileLock::try_acquire(file);
  Command command;
  command.argv = {"sleep", "60"};
  Child child = Child::start(executor, command);
  lock.reset();
  const bool held = FileLock::is_held(file);
  child.kill(SIGKILL);
  co_await child.wait();
  co_return held;
}

TEST(FileLock, IsNotInheritedUnlessAsked) {
  TempDir dir;
  EXPECT_FALSE(test::run(held_by_child_that_did_not_inherit(dir / "lock")));
}

TEST(FileLock, IsDroppedByTheKernelWhenItsHolderIsKilled) {
  TempDir dir;
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t holder = ::fork();
  if (holder == 0) {
    auto lock = FileLock::try_acquire(dir / "lock");
    (void)!::write(ready[1], "x", 1);
    for (;;) ::pause();
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  EXPECT_TRUE(FileLock::is_held(dir / "lock"));
  ::kill(holder, SIGKILL);
  ::waitpid(holder, nullptr, 0);
  EXPECT_TRUE(FileLock::try_acquire(dir / "lock"));
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST(FileLock, IsNotTakenOnAFileThatItsLastHolderDeleted) {
  TempDir dir;
  auto first = FileLock::try_acquire(dir / "lock");
  std::filesystem::remove(dir / "lock");
  const auto second = FileLock::try_acquire(dir / "lock");
  EXPECT_TRUE(second) << "the deleted file's lock excludes nobody";
  first.reset();
  EXPECT_TRUE(FileLock::is_held(dir / "lock"));
}

/// `delete` removes the lock's file while it holds it. Whoever had opened it by then gets its lock later, and must not
/// be content with that.
TEST(FileLock, IsTakenOnTheFileOfThatNameAlone) {
  TempDir dir;
  const pid_t deleter = ::fork();
  if (deleter == 0)
    for (;;)
      if (const auto lock = FileLock::try_acquire(dir / "lock")) ::unlink((dir / "lock").c_str());
  int taken = 0, nameless = 0;
  using Clock = std::chrono::steady_clock;
  for (const auto end = Clock::now() + std::chrono::milliseconds(300); Clock::now() < end;) {
    const auto lock = FileLock::try_acquire(dir / "lock");
    if (!lock) continue;
    ++taken;
    nameless += FileLock::is_held(dir / "lock") ? 0 : 1;  // the other one deletes only what it holds
  }
  ::kill(deleter, SIGKILL);
  ::waitpid(deleter, nullptr, 0);
  EXPECT_GT(taken, 0);
  EXPECT_EQ(nameless, 0) << "of " << taken;
}

TEST(FileLock, IsNotDeniedToAStartBecauseAStatusLooksAtTheSameTime) {
  TempDir dir;
  {
    auto create = FileLock::try_acquire(dir / "lock");
  }
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t asker = ::fork();
  if (asker == 0) {
    (void)!::write(ready[1], "x", 1);
    for (;;) FileLock::is_held(dir / "lock");
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  int denied = 0;
  for (int i = 0; i < 5000; ++i) denied += FileLock::try_acquire(dir / "lock") ? 0 : 1;
  ::kill(asker, SIGKILL);
  ::waitpid(asker, nullptr, 0);
  EXPECT_EQ(denied, 0);
  ::close(ready[0]);
  ::close(ready[1]);
}

}  // namespace
}  // namespace cl
