#include <gtest/gtest.h>

#include "provision/guest.hpp"
#include "tests/fakes/choppy_stream.hpp"
#include "tests/integration/ssh_lab.hpp"
#include "tests/support/run.hpp"

namespace cl::test {
namespace {

asio::awaitable<std::string> read_errors_to_end(GuestProcess& process) {
  std::string all;
  char space[512];
  for (;;) {
    const std::size_t got = co_await process.read_errors(space);
    if (got == 0) co_return all;
    all.append(space, got);
  }
}

asio::awaitable<GuestResult> run_command(Transport how, std::string command, std::string input) {
  SshLab lab(co_await asio::this_coro::executor);
  co_await lab.set_up();
  auto guest = co_await lab.connect(how);
  GuestResult result = co_await run_in_guest(*guest, std::move(command), std::move(input));
  guest.reset();
  co_await lab.stop();
  co_return result;
}

/// Each once whole and once through a transport that splits everything.
class Exec : public ::testing::TestWithParam<Transport> {
 protected:
  GuestResult command(std::string text, std::string input = {}) {
    return run(run_command(GetParam(), std::move(text), std::move(input)), 60s);
  }
};

INSTANTIATE_TEST_SUITE_P(Transports, Exec, ::testing::Values(Transport::whole, Transport::split),
                         [](const auto& info) { return info.param == Transport::whole ? "Whole" : "Split"; });

TEST_P(Exec, KeepsStdoutAndStderrApart) {
  const GuestResult result = command("echo to out; echo to err >&2");
  EXPECT_EQ(result.output, "to out\n");
  EXPECT_EQ(result.errors, "to err\n");
  EXPECT_EQ(result.exit_code, 0);
}

TEST_P(Exec, ReportsTheExitCode) {
  EXPECT_EQ(command("exit 0").exit_code, 0);
  EXPECT_EQ(command("exit 7").exit_code, 7);
  EXPECT_EQ(command("exit 255").exit_code, 255);
}

TEST_P(Exec, ReportsASignalAs128PlusItsNumber) {
  EXPECT_EQ(command("kill -KILL $$").exit_code, 128 + 9);
  EXPECT_EQ(command("kill -TERM $$").exit_code, 128 + 15);
  EXPECT_EQ(command("kill -USR1 $$").exit_code, 128 + 10);
}

TEST_P(Exec, GivesTheProgramItsInputAndThenItsEnd) {
  const std::string input = pattern(GetParam() == Transport::split ? 20'000 : 3'000'000);
  const GuestResult result = command("cat", input);
  EXPECT_TRUE(result.output == input.substr(input.size() - std::min<std::size_t>(input.size(), 1 << 20)));
  EXPECT_EQ(result.exit_code, 0);
}

TEST_P(Exec, DoesNotHangOnAProgramThatReadsNoInput) {
  const GuestResult result = command("exec <&-; exit 3", pattern(GetParam() == Transport::split ? 10'000 : 8'000'000));
  EXPECT_EQ(result.exit_code, 3);
}

asio::awaitable<std::string> output_after_input_ended(Transport how) {
  SshLab lab(co_await asio::this_coro::executor);
  co_await lab.set_up();
  auto guest = co_await lab.connect(how);
  ExecRequest request;
  request.command = "cat >/dev/null; echo after the end";
  auto process = co_await guest->exec(std::move(request));
  const std::string_view input = "some input";
  co_await process->io().write(input);
  co_await process->io().shutdown_write();
  std::string output = co_await read_to_end(process->io());
  output += std::to_string(co_await process->wait_exit());
  co_await lab.stop();
  co_return output;
}

TEST_P(Exec, KeepsReadingAfterTheInputHasEnded) {
  EXPECT_EQ(run(output_after_input_ended(GetParam()), 60s), "after the end\n0");
}

asio::awaitable<std::string> input_after_output_ended(Transport how) {
  SshLab lab(co_await asio::this_coro::executor);
  co_await lab.set_up();
  auto guest = co_await lab.connect(how);
  const std::filesystem::path file = lab.directory() / "written";
  ExecRequest request;
  request.command = "exec >&- 2>&-; cat > " + file.string();
  auto process = co_await guest->exec(std::move(request));
  std::string result = co_await read_to_end(process->io());
  const std::string_view input = "after its output had ended";
  co_await process->io().write(input);
  co_await process->io().shutdown_write();
  result += std::to_string(co_await process->wait_exit()) + read_file(file);
  co_await lab.stop();
  co_return result;
}

TEST_P(Exec, KeepsWritingAfterTheOutputHasEnded) {
  EXPECT_EQ(run(input_after_output_ended(GetParam()), 60s), "0after its output had ended");
}

struct TerminalTalk {
  std::string before, after, errors;
  int exit_code = -1;
};

asio::awaitable<std::string> read_line(ByteStream& stream) {
  std::string line;
  char c = 0;
  while (co_await stream.read_some(std::span(&c, 1)) == 1)
    if (c == '\n')
      break;
    else if (c != '\r')
      line += c;
  co_return line;
}

asio::awaitable<TerminalTalk> talk_on_a_terminal(Transport how) {
  SshLab lab(co_await asio::this_coro::executor);
  co_await lab.set_up();
  auto guest = co_await lab.connect(how);
  ExecRequest request;
  request.command = "echo $TERM $(stty size); stty -echo; echo ready; read x; stty size; echo gone >&2; exit 5";
  TerminalSize size;
  size.columns = 101;
  size.rows = 33;
  request.terminal = size;
  request.terminal_type = "vt220";
  auto process = co_await guest->exec(std::move(request));
  TerminalTalk talk;
  talk.before = co_await read_line(process->io());
  co_await read_line(process->io());
  size.columns = 77;
  size.rows = 22;
  co_await process->resize(size);
  const std::string_view go = "go\n";
  co_await process->io().write(go);
  talk.after = co_await read_line(process->io());
  talk.errors = co_await read_to_end(process->io());
  talk.exit_code = co_await process->wait_exit();
  co_await lab.stop();
  co_return talk;
}

TEST_P(Exec, GivesATerminalOfTheSizeAskedForAndResizesIt) {
  const TerminalTalk talk = run(talk_on_a_terminal(GetParam()), 60s);
  EXPECT_EQ(talk.before, "vt220 33 101");
  EXPECT_EQ(talk.after, "22 77");
  EXPECT_EQ(talk.errors, "gone\r\n") << "with a terminal, stderr is part of stdout";
  EXPECT_EQ(talk.exit_code, 5);
}

asio::awaitable<std::string> type_into_a_shell() {
  SshLab lab(co_await asio::this_coro::executor);
  co_await lab.set_up();
  auto guest = co_await lab.connect();
  ExecRequest request;  // no command: the login shell
  auto process = co_await guest->exec(std::move(request));
  const std::string_view script = "echo typed; exit 4\n";
  co_await process->io().write(script);
  std::string output = co_await read_to_end(process->io());
  output += std::to_string(co_await process->wait_exit());
  co_await lab.stop();
  co_return output;
}

TEST(Shell, RunsWhenThereIsNoCommand) {
  const std::string output = run(type_into_a_shell(), 30s);
  EXPECT_NE(output.find("typed\n"), std::string::npos) << output;
  EXPECT_TRUE(output.ends_with("4")) << output;
}

asio::awaitable<std::string> exit_without_reading() {
  SshLab lab(co_await asio::this_coro::executor);
  co_await lab.set_up();
  auto guest = co_await lab.connect();
  ExecRequest request;
  request.command = "echo out; echo err >&2; exit 9";
  auto process = co_await guest->exec(std::move(request));
  // stdout is read to its end while stderr is still unread: neither may hide the other.
  std::string all = co_await read_to_end(process->io());
  all += co_await read_errors_to_end(*process);
  all += std::to_string(co_await process->wait_exit());
  co_await lab.stop();
  co_return all;
}

TEST(Streams, EndIndependentlyOfWhatIsUnreadOnTheOther) { EXPECT_EQ(run(exit_without_reading(), 30s), "out\nerr\n9"); }

}  // namespace
}  // namespace cl::test
