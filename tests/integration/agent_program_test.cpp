#include <gtest/gtest.h>
#include <signal.h>

#include "provision/channel/agent_host.hpp"
#include "tests/integration/agent_bed.hpp"

// Programs that the real agent runs, as it does on hosts.
namespace cl::test {
namespace {

struct Host {
  Bed bed;
  AgentHost host;
  Host(asio::any_io_executor executor, bool split) : bed(executor, split), host(bed.agent) {}
};

asio::awaitable<std::string> said_by(std::string command, std::string input, bool split = false) {
  Host there(co_await asio::this_coro::executor, split);
  co_await there.bed.agent->wait_up();
  const GuestResult result = co_await run_in_guest(there.host, std::move(command), std::move(input));
  co_await there.bed.end();
  co_return std::to_string(result.exit_code) + "|" + result.output + "|" + result.errors;
}

TEST(AgentPrograms, HaveTheirInputOutputsAndExitCode) {
  EXPECT_EQ(run(said_by("cat; echo err >&2; exit 3", "hello\n")), "3|hello\n|err\n");
  EXPECT_EQ(run(said_by("kill -9 $$", "")), "137||");
  EXPECT_EQ(run(said_by("no-such-program 2>/dev/null", "")), "127||");
  EXPECT_EQ(run(said_by("true", std::string(1 << 20, 'x'))), "0||");  // which reads nothing of it
}

TEST(AgentPrograms, CarryMuchBothWaysAtOnce) {
  const std::string much = std::string(900'000, 'a') + "\n";
  EXPECT_EQ(run(said_by("cat", much)), "0|" + much + "|");
  EXPECT_EQ(run(said_by("tee /dev/stderr", much, true)), "0|" + much + "|" + much);
}

TEST(AgentPrograms, MayHaveACommandOfAnyLength) {
  std::string command = "exit 4 # ";
  command.resize(100'000, '#');
  EXPECT_EQ(run(said_by(command, "")), "4||");
}

asio::awaitable<std::string> in_a_terminal() {
  Host there(co_await asio::this_coro::executor, false);
  co_await there.bed.agent->wait_up();
  ExecRequest request;
  request.command = "stty size; read answer; stty size; echo \"$TERM $answer\"; exit 5";
  request.terminal = TerminalSize{100, 30};
  request.terminal_type = "vt100";
  auto process = co_await there.host.exec(request);
  std::string screen;
  std::array<char, 1000> space;
  auto more = [&]() -> asio::awaitable<std::size_t> {
    const std::size_t got = co_await process->io().read_some(space);
    screen.append(space.data(), got);
    co_return got;
  };
  while (screen.find("30 100") == std::string::npos) co_await more();
  co_await process->resize({90, 20});
  co_await process->io().write(std::string_view("yes\n"));
  while (co_await more() > 0) {
  }
  const int code = co_await process->wait_exit();
  process.reset();
  co_await there.bed.end();
  co_return screen + std::to_string(code);
}

TEST(AgentPrograms, MayHaveATerminal) { EXPECT_EQ(run(in_a_terminal()), "30 100\r\nyes\r\n20 90\r\nvt100 yes\r\n5"); }

asio::awaitable<bool> ends_with_its_stream() {
  Host there(co_await asio::this_coro::executor, false);
  co_await there.bed.agent->wait_up();
  ExecRequest request;
  request.command = "echo $$; exec sleep 1000";
  auto process = co_await there.host.exec(request);
  std::array<char, 100> space;
  const std::size_t got = co_await process->io().read_some(space);
  const pid_t pid = std::stoi(std::string(space.data(), got));
  process.reset();
  for (int i = 0; i < 500 && ::kill(pid, 0) == 0; ++i) co_await sleep_for(std::chrono::milliseconds(10));
  const bool gone = ::kill(pid, 0) != 0;
  co_await there.bed.end();
  co_return gone;
}

TEST(AgentPrograms, EndWhenNobodyWantsThemAnyMore) { EXPECT_TRUE(run(ends_with_its_stream())); }

}  // namespace
}  // namespace cl::test
