#include "src/base/child.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/post.hpp>
#include <cstdlib>
#include <fstream>

#include "src/base/descriptor_limit.hpp"
#include "src/base/file.hpp"
#include "src/base/platform.hpp"
#include "src/base/task_group.hpp"
#include "src/base/unique_fd.hpp"
#include "tests/support/run.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl {
namespace {

using namespace std::chrono_literals;
using test::TempDir;

Command shell(std::string script) {
  Command command;
  command.argv = {"sh", "-c", std::move(script)};
  return command;
}

Finished run_shell(std::string script, std::string input = {}, std::chrono::milliseconds limit = 9s) {
  return test::run(run(shell(std::move(script)), std::move(input), limit));
}

bool exists(pid_t pid) { return ::kill(pid, 0) == 0; }
bool have_children() { return ::waitpid(-1, nullptr, WNOHANG) >= 0 || errno != ECHILD; }

TEST(Run, CollectsOutputAndErrorsApart) {
  const Finished done = run_shell("echo out; echo err >&2");
  EXPECT_TRUE(done.status.ok());
  EXPECT_EQ(done.output, "out\n");
  EXPECT_EQ(done.errors, "err\n");
  EXPECT_FALSE(have_children());
}

TEST(Run, TellsAnExitCodeFromASignalOfTheSameNumber) {
  const ExitStatus exited = run_shell("exit 15").status;
  EXPECT_EQ(exited.code, 15);
  EXPECT_EQ(exited.signal, 0);
  EXPECT_EQ(exited.str(), "exit code 15");
  const ExitStatus killed = run_shell("kill -TERM $$").status;
  EXPECT_EQ(killed.signal, 15);
  EXPECT_EQ(killed.str(), "signal 15");
  EXPECT_FALSE(killed.ok());
}

TEST(Run, FeedsInputOfAnySize) {
  const std::string input(1'000'000, 'x');  // more than a pipe holds, both ways at once
  EXPECT_EQ(run_shell("cat", input).output, input);
  EXPECT_EQ(run_shell("cat").output, "");
}

TEST(Run, DoesNotMindAProgramThatIgnoresItsInput) {
  EXPECT_TRUE(run_shell("exec <&-; true", std::string(1'000'000, 'x')).status.ok());
}

TEST(Run, KeepsTheEndOfLargeOutput) {
  const Finished done = run_shell("head -c 40000000 /dev/zero; echo end");
  EXPECT_EQ(done.output.size(), 16u << 20);
  EXPECT_TRUE(done.output.ends_with("end\n"));
}

TEST(Run, HandsOutCompleteLinesAsTheyCome) {
  std::vector<std::string> lines;
  OnLine on_line = [&](std::string_view line) { lines.emplace_back(line); };
  const auto done = test::run(run(shell("printf 'a\\n\\nb'; printf 'c\\nno newline'"), {}, 9s, on_line));
  EXPECT_EQ(lines, (std::vector<std::string>{"a", "", "bc"}));
  EXPECT_EQ(done.output, "a\n\nbc\nno newline");
}

TEST(Run, SaysWhichProgramIsMissing) {
  Command command;
  command.argv = {"no-such-program-here"};
  try {
    test::run(run(command, {}, 9s));
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::host_requirement);
    EXPECT_NE(std::string(error.what()).find("no-such-program-here"), std::string::npos);
  }
  EXPECT_FALSE(have_children());
}

TEST(Run, SaysWhyAProgramCannotStartAndLeavesNoZombie) {
  TempDir dir;
  std::ofstream(dir / "broken") << "not a program";
  fs::permissions(dir / "broken", fs::perms::owner_all);
  Command command;
  command.argv = {(dir / "broken").string()};
  EXPECT_THROW(test::run(run(command, {}, 9s)), Error);
  EXPECT_FALSE(have_children());
}

TEST(Run, StartsInTheAskedDirectory) {
  TempDir dir;
  Command command = shell("pwd -P");
  command.directory = dir.path();
  EXPECT_EQ(test::run(run(command, {}, 9s)).output, fs::canonical(dir.path()).string() + "\n");
}

TEST(Run, AddsToTheEnvironmentOverridesAndUnsetsIt) {
  ::setenv("CL_TEST_KEPT", "kept", 1);
  ::setenv("CL_TEST_GONE", "set", 1);
  ::setenv("CL_TEST_OVER", "old", 1);
  Command command = shell("echo $CL_TEST_KEPT $CL_TEST_OVER $CL_TEST_NEW ${CL_TEST_GONE-unset}");
  command.environment = {"CL_TEST_OVER=new", "CL_TEST_NEW=a=b", "CL_TEST_GONE"};
  EXPECT_EQ(test::run(run(command, {}, 9s)).output, "kept new a=b unset\n");
}

TEST(Run, StartsWithNoSignalBlockedAndSigpipeAtItsDefault) {
  sigset_t block, before;
  ::sigemptyset(&block);
  ::sigaddset(&block, SIGTERM);
  ::sigprocmask(SIG_BLOCK, &block, &before);
  auto* const previous = ::signal(SIGPIPE, SIG_IGN);
  const std::string text = run_shell("grep -E 'SigBlk|SigIgn' /proc/self/status").output;
  ::signal(SIGPIPE, previous);
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  EXPECT_EQ(text, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

/// A script that starts a grandchild which ignores SIGTERM, tells both pids on stdout and then hangs.
constexpr const char* family = "sh -c 'trap \"\" TERM HUP; while :; do sleep 60; done' & echo $$ $!; wait";

struct Family {
  pid_t parent = 0, grandchild = 0;
  void read(std::string_view line) {
    parent = std::atoi(std::string(line).c_str());
    grandchild = std::atoi(std::string(line.substr(line.find(' ') + 1)).c_str());
  }
  /// Whether both are gone. The grandchild is init's to reap: wait for its end, not for its number to vanish.
  void expect_gone() const {
    ASSERT_GT(parent, 0);
    ASSERT_GT(grandchild, 0);
    EXPECT_FALSE(exists(parent));
    EXPECT_NO_THROW(test::run(platform::wait_until_gone(grandchild))) << "the grandchild lives on";
  }
};

TEST(Run, KillsTheWholeFamilyWhenTheLimitIsOver) {
  Family pids;
  OnLine on_line = [&](std::string_view line) { pids.read(line); };
  try {
    test::run(run(shell(family), {}, 300ms, on_line));
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::timed_out);
    EXPECT_STREQ(error.what(), "sh took too long");
  }
  pids.expect_gone();
  EXPECT_FALSE(have_children());
}

asio::awaitable<void> run_and_note(OnLine on_line, std::string& outcome) {
  try {
    co_await run(shell(family), {}, 1h, std::move(on_line));
    outcome = "returned";
  } catch (const boost::system::system_error& error) {
    outcome = error.code() == asio::error::operation_aborted ? "aborted" : error.what();
  }
}

asio::awaitable<void> cancel_once_it_runs(Family& pids, std::string& outcome) {
  auto executor = co_await asio::this_coro::executor;
  Event running(executor);
  OnLine on_line = [&](std::string_view line) {
    pids.read(line);
    running.set();
  };
  TaskGroup tasks(executor);
  tasks.spawn("run", run_and_note(on_line, outcome));
  co_await running.wait();
  co_await tasks.stop();
}

TEST(Run, KillsAndReapsTheWholeFamilyWhenCancelled) {
  Family pids;
  std::string outcome;
  test::run(cancel_once_it_runs(pids, outcome));
  EXPECT_EQ(outcome, "aborted");
  pids.expect_gone();
  EXPECT_FALSE(have_children());
}

asio::awaitable<std::string> failing_line_handler() {
  OnLine on_line = [](std::string_view line) { throw Error(Errc::protocol, "cannot read " + std::string(line)); };
  try {
    co_await run(shell("echo nonsense; sleep 60"), {}, 1h, on_line);
  } catch (const Error& error) {
    co_return error.what();
  }
  co_return "returned";
}

TEST(Run, TheLimitHoldsForAProgramThatClosesItsOutputAndStays) {
  try {
    run_shell("exec >&- 2>&-; exec sleep 60", {}, 100ms);
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::timed_out);
  }
  EXPECT_FALSE(have_children());
}

TEST(Run, GivesTheLimitOfDescriptorsThatWeStartedWith) {
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  rlimit low = before;
  low.rlim_cur = 200;
  ::setrlimit(RLIMIT_NOFILE, &low);
  EXPECT_GT(raise_descriptor_limit(), 200U);
  EXPECT_EQ(run_shell("ulimit -S -n").output, "200\n");
  ::setrlimit(RLIMIT_NOFILE, &before);
}

TEST(Run, EndsTheProgramWhenALineIsRefused) {
  EXPECT_EQ(test::run(failing_line_handler()), "cannot read nonsense");
  EXPECT_FALSE(have_children());
}

TEST(Run, LeavesOurDescriptorsOutOfTheChild) {
  TempDir dir;
  // Opened without close-on-exec, low and high, as a library might.
  const UniqueFd low(::open("/dev/null", O_RDONLY));
  const UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM, 0));
  const UniqueFd high(::fcntl(low.get(), F_DUPFD, 300));
  const std::string listed = run_shell("ls /proc/$$/fd").output;
  // The shell itself may open what it likes above 9; ours must not be there.
  for (const int fd : {low.get(), socket.get(), high.get()})
    EXPECT_EQ(listed.find(std::to_string(fd) + "\n"), std::string::npos) << listed;
  EXPECT_EQ(listed, "0\n1\n2\n");
}

TEST(Run, HandsOverTheDescriptorsToKeep) {
  TempDir dir;
  std::ofstream(dir / "file") << "through the descriptor";
  const UniqueFd file(::open((dir / "file").c_str(), O_RDONLY | O_CLOEXEC));
  Command command = shell("cat /proc/self/fd/" + std::to_string(file.get()));
  command.keep = {file.get()};
  EXPECT_EQ(test::run(run(command, {}, 9s)).output, "through the descriptor");
}

asio::awaitable<std::string> new_session_facts(bool new_session) {
  TempDir dir;
  auto executor = co_await asio::this_coro::executor;
  const fs::path path = dir / "out";
  const UniqueFd out(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  Command command = shell("exec cat /proc/self/stat");
  command.output = out.get();
  command.new_session = new_session;
  Child child = Child::start(executor, command);
  const pid_t pid = child.pid();
  co_await child.wait();
  const std::string stat = read_file(path);
  // "pid (name) state ppid pgrp session ..."
  const std::string after = stat.substr(stat.find(')') + 2);
  char state = 0;
  int parent = 0, group = 0, session = 0;
  std::sscanf(after.c_str(), "%c %d %d %d", &state, &parent, &group, &session);
  co_return session == pid ? "its own session" : session == ::getsid(0) ? "our session" : "neither";
}

TEST(Child, StartsInASessionOfItsOwnOnlyWhenAsked) {
  EXPECT_EQ(test::run(new_session_facts(true)), "its own session");
  EXPECT_EQ(test::run(new_session_facts(false)), "our session");
}

asio::awaitable<std::string> start_unwatched(pid_t& pid) {
  auto executor = co_await asio::this_coro::executor;
  Command command;
  command.argv = {"sleep", "60"};
  {
    pid = Child::start(executor, command).pid();
  }
  co_return exists(pid) ? "runs on" : "was killed";
}

TEST(Child, RunsOnWhenItsObjectGoes) {
  pid_t pid = 0;
  EXPECT_EQ(test::run(start_unwatched(pid)), "runs on");
  ::kill(pid, SIGKILL);
  EXPECT_EQ(::waitpid(pid, nullptr, 0), pid);
}

asio::awaitable<void> wait_for(Child& child, std::string& outcome) {
  try {
    outcome = (co_await child.wait()).str();
  } catch (const boost::system::system_error&) {
    outcome = "aborted";
  }
}

asio::awaitable<std::string> cancel_a_wait() {
  auto executor = co_await asio::this_coro::executor;
  Command command;
  command.argv = {"sleep", "60"};
  Child child = Child::start(executor, command);
  std::string outcome;
  TaskGroup tasks(executor);
  tasks.spawn("waiter", wait_for(child, outcome));
  co_await asio::post(executor, asio::use_awaitable);
  co_await tasks.stop();
  outcome += exists(child.pid()) ? ", lives, " : ", died, ";
  child.kill(SIGTERM);
  outcome += (co_await child.wait()).str();
  child.kill(SIGTERM);  // must not reach whoever has the number next
  co_return outcome;
}

TEST(Child, SurvivesACancelledWait) { EXPECT_EQ(test::run(cancel_a_wait()), "aborted, lives, signal 15"); }

TEST(FindProgram, SearchesPathAndChecksPaths) {
  TempDir dir;
  std::ofstream(dir / "tool") << "#!/bin/sh\n";
  EXPECT_EQ(find_program((dir / "tool").string()), std::nullopt) << "not executable";
  fs::permissions(dir / "tool", fs::perms::owner_all);
  EXPECT_EQ(find_program((dir / "tool").string()), dir / "tool");
  EXPECT_EQ(find_program(dir.path().string()), std::nullopt) << "a directory is no program";
  EXPECT_EQ(find_program("tool"), std::nullopt);
  EXPECT_EQ(find_program(""), std::nullopt);
  const std::string path = std::getenv("PATH");
  ::setenv("PATH", (dir.path().string() + "::" + path).c_str(), 1);
  EXPECT_EQ(find_program("tool"), dir / "tool");
  ::unsetenv("PATH");
  EXPECT_NE(find_program("sh"), std::nullopt) << "the usual places are searched without a PATH too";
  // Neither can be looked into: a folder of somebody else's in PATH, or, to root too, a link that leads to itself.
  std::filesystem::create_symlink("loop", dir / "loop");
  ::setenv("PATH", ((dir / "loop").string() + ":" + dir.path().string()).c_str(), 1);
  EXPECT_EQ(find_program("tool"), dir / "tool");
  ::setenv("PATH", path.c_str(), 1);
}

}  // namespace
}  // namespace cl
