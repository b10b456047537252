#include "src/base/platform.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "src/base/child.hpp"
#include "src/base/file.hpp"
#include "src/base/file_lock.hpp"
#include "src/base/host.hpp"
#include "src/base/task_group.hpp"
#include "src/base/unique_fd.hpp"
#include "tests/support/hung_mount.hpp"
#include "tests/support/run.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl {
namespace {

TEST(HostFacts, AreThoseOfThisHost) {
  const HostFacts facts = host_facts();
  EXPECT_GE(facts.cpus, 1);
  EXPECT_GT(facts.memory, ByteSize::mib(128));
  EXPECT_TRUE(facts.os == "linux" || facts.os == "macos") << facts.os;
  EXPECT_NE(facts.arch, "arm64") << "one name per architecture: aarch64";
}

TEST(Platform, TellsWhenTheWallClockIsSet) {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  if (::clock_settime(CLOCK_REALTIME, &now) != 0) GTEST_SKIP() << "only root may set the clock";
  auto work = []() -> asio::awaitable<bool> {
    Event told(co_await asio::this_coro::executor);
    auto wait = [](Event& event) -> asio::awaitable<void> {
      co_await platform::wall_clock_set();
      event.set();
    };
    TaskGroup tasks(co_await asio::this_coro::executor);
    tasks.spawn("clock", wait(told));
    co_await sleep_for(std::chrono::milliseconds(20));
    const bool early = told.is_set();
    timespec time{};
    ::clock_gettime(CLOCK_REALTIME, &time);
    ::clock_settime(CLOCK_REALTIME, &time);
    co_await with_timeout(std::chrono::seconds(20), "the news", told.wait());
    co_await tasks.stop();
    co_return early;
  };
  EXPECT_FALSE(test::run(work(), std::chrono::seconds(30))) << "told before anything happened";
}

TEST(Platform, KnowsItsProgramKernelAndBoot) {
  EXPECT_EQ(platform::executable().filename(), "base_test");
  EXPECT_NE(platform::kernel_release(), "unknown");
  EXPECT_EQ(platform::boot_id(), platform::boot_id());
  EXPECT_EQ(platform::boot_id().find('\n'), std::string::npos);
}

TEST(PeerPid, IsThatOfTheListener) {
  test::TempDir dir;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = (dir / "socket").string();
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  const UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM, 0)), client(::socket(AF_UNIX, SOCK_STREAM, 0));
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  ASSERT_EQ(::connect(client.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(platform::peer_pid(client.get()), ::getpid());
  EXPECT_EQ(platform::peer_pid(-1), 0);
}

TEST(MaxSocketPath, IsExactlyWhatBindTakes) {
  sockaddr_un address{};
  EXPECT_EQ(platform::max_socket_path(), sizeof address.sun_path - 1);
}

asio::awaitable<void> watch_a_child(bool& ended) {
  Command command;
  command.argv = {"sleep", "60"};
  Child child = Child::start(co_await asio::this_coro::executor, command);
  child.kill(SIGKILL);
  co_await platform::wait_until_gone(child.pid());
  ended = true;
  co_await child.wait();
  co_await platform::wait_until_gone(child.pid());  // reaped: at once
}

TEST(WaitUntilGone, ReturnsWhenAProcessEndsOrHasLongEnded) {
  bool ended = false;
  test::run(watch_a_child(ended));
  EXPECT_TRUE(ended);
}

asio::awaitable<bool> is_readable(int fd) {
  try {
    co_await with_timeout(std::chrono::milliseconds(50), "the input", platform::wait_readable(fd));
  } catch (const Error&) {
    co_return false;
  }
  co_return true;
}

TEST(WaitReadable, KnowsWhatCanBeReadAndLeavesItsFlagsAlone) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  UniqueFd read_end(ends[0]), write_end(ends[1]);
  EXPECT_FALSE(test::run(is_readable(read_end.get())));
  ASSERT_EQ(::write(write_end.get(), "xy", 2), 2);
  EXPECT_TRUE(test::run(is_readable(read_end.get())));
  char byte = 0;
  ASSERT_EQ(::read(read_end.get(), &byte, 1), 1);
  EXPECT_TRUE(test::run(is_readable(read_end.get()))) << "there is another one";
  ASSERT_EQ(::read(read_end.get(), &byte, 1), 1);
  EXPECT_FALSE(test::run(is_readable(read_end.get())));
  write_end.reset();
  EXPECT_TRUE(test::run(is_readable(read_end.get()))) << "its end";
  EXPECT_EQ(::fcntl(read_end.get(), F_GETFL) & O_NONBLOCK, 0) << "who else has this file open would fail with EAGAIN";
}

TEST(WaitReadable, FilesAreReadAtOnce) {
  const test::TempDir dir;
  write_atomically(dir / "file", "x");
  for (const fs::path& path : {dir / "file", fs::path("/dev/null")}) {
    const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    EXPECT_TRUE(test::run(is_readable(file.get()))) << path;
    ::lseek(file.get(), 0, SEEK_END);
    EXPECT_TRUE(test::run(is_readable(file.get()))) << path << ", at its end";
  }
}

/// A child that has `keep` and nothing else of ours.
Child sleeper(const asio::any_io_executor& executor, std::vector<int> keep) {
  Command command;
  command.argv = {"sleep", "60"};
  command.keep = std::move(keep);
  return Child::start(executor, command);
}

asio::awaitable<void> end(Child& child) {
  child.kill(SIGKILL);
  co_await child.wait();
}

asio::awaitable<void> lock_holders() {
  const auto executor = co_await asio::this_coro::executor;
  const test::TempDir dir;
  write_atomically(dir / "other", "");
  std::optional<FileLock> lock = FileLock::try_acquire(dir / "file");
  EXPECT_EQ(platform::lock_holder(dir / "file"), 0) << "this process does not count";
#ifdef __linux__
  const UniqueFd open(::open((dir / "file").c_str(), O_RDONLY | O_CLOEXEC));
  Child backup = sleeper(executor, {open.get()});
  EXPECT_EQ(platform::lock_holder(dir / "file"), 0) << "who has the file open for another reason does not count";
  EXPECT_EQ(platform::lock_holder(dir / "file", backup.pid()), 0);
  co_await end(backup);
#endif
  Child heir = sleeper(executor, {lock->fd()});
  lock.reset();
  fs::create_symlink(dir / "file", dir / "link");
  EXPECT_EQ(platform::lock_holder(dir / "file"), heir.pid());
  EXPECT_EQ(platform::lock_holder(dir / "link"), heir.pid());
  EXPECT_EQ(platform::lock_holder(dir / "file", heir.pid()), heir.pid());
  EXPECT_EQ(platform::lock_holder(dir / "file", 1), heir.pid());
  EXPECT_EQ(platform::lock_holder(dir / "other"), 0);
  EXPECT_EQ(platform::lock_holder(dir / "missing"), 0);
  co_await end(heir);
}

TEST(Platform, FindsTheProcessThatHoldsALock) { test::run(lock_holders()); }

#ifdef __linux__
asio::awaitable<pid_t> holder_beside_a_hung_file(fs::path hung, fs::path file) {
  const auto executor = co_await asio::this_coro::executor;
  const UniqueFd there(::open(hung.c_str(), O_PATH | O_CLOEXEC));
  Child other = sleeper(executor, {there.get()});
  const pid_t found = platform::lock_holder(file);
  co_await end(other);
  co_return found;
}

/// stat() of another process's descriptor asks its file system.
TEST(Platform, LooksIntoProcessesWhoseFilesHang) {
  const test::HungMount mount;
  if (!mount.there()) GTEST_SKIP() << "needs /dev/fuse and the right to mount";
  const test::TempDir dir;
  write_atomically(dir / "file", "");
  EXPECT_EQ(test::run(holder_beside_a_hung_file(mount.path(), dir / "file")), 0);
}
#endif

}  // namespace
}  // namespace cl
