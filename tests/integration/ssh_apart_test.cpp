#include "provision/ssh/apart.hpp"

#include <gtest/gtest.h>
#include <signal.h>

#include <fstream>

#include "src/base/file.hpp"
#include "tests/fuzz/ssh_server.hpp"
#include "tests/integration/ssh_lab.hpp"
#include "tests/support/run.hpp"

/// The process of a session: what becomes of it when the guest is hostile, or it is killed.
namespace cl::test {
namespace {

using Socket = asio::local::stream_protocol::socket;
using fuzz::SshServer;

Socket socket_of(const asio::any_io_executor& executor, UniqueFd fd) {
  Socket socket(executor);
  socket.assign(asio::local::stream_protocol(), fd.release());
  return socket;
}

/// A sound server up to its first channel that is not the client's own; then it sends that.
asio::awaitable<void> be_hostile(std::shared_ptr<Socket> socket, std::function<std::string(SshServer&)> attack) {
  SshServer server;
  std::string space(64 * 1024, '\0');
  const std::string greeting = server.answer({});
  co_await asio::async_write(*socket, asio::buffer(greeting), no_throw);
  for (int answers = 0;;) {
    auto [ec, got] = co_await socket->async_read_some(asio::buffer(space), no_throw);
    if (ec) co_return;
    std::string said = server.answer({space.data(), got});
    if (server.stage() == SshServer::Stage::channels && !said.empty() && ++answers == 3) said += attack(server);
    if (!said.empty()) co_await asio::async_write(*socket, asio::buffer(said), no_throw);
  }
}

struct Seen {
  bool logged_in = false, lost = false;
  std::string stream;
};

asio::awaitable<Seen> attacked(std::function<std::string(SshServer&)> attack) {
  const auto executor = co_await asio::this_coro::executor;
  auto [ours, theirs] = socket_pair();
  TaskGroup tasks(executor);
  const auto server = std::make_shared<Socket>(socket_of(executor, std::move(theirs)));
  tasks.spawn("server", be_hostile(server, std::move(attack)));
  SshLogin login;
  login.user = "root";
  login.key = SshServer::user_private_key();
  login.host_key = SshServer::host_key();
  Seen seen;
  auto guest = co_await connect_ssh_apart(std::move(ours), std::move(login));
  seen.logged_in = true;
  try {
    auto stream = co_await guest->open_unix("/x");
    std::string space(1000, 'x');
    while (co_await stream->read_some(space) > 0) {
    }
    seen.stream = "ended";
  } catch (const Error& error) {
    seen.stream = one_line(error);
  }
  co_await with_timeout(5s, "the session's end", guest->lost());
  seen.lost = guest->ended();
  co_await tasks.stop();
  co_return seen;
}

TEST(SshApart, ServerThatEndsTheLibraryEndsItsProcessAlone) {
  // libssh2 1.10 asserts that a packet's length is a multiple of the cipher's block.
  const Seen seen =
      run(attacked([](SshServer& server) { return server.packet_that_says(21, 5, std::string(40, 'x')); }), 30s);
  EXPECT_TRUE(seen.logged_in);
  EXPECT_TRUE(seen.lost);
  EXPECT_NE(seen.stream, "ended") << "a stream that is cut short is no whole one";
}

#ifndef __APPLE__
/// The processes of sessions that this one has.
std::vector<pid_t> session_processes() {
  std::vector<pid_t> all;
  std::ifstream children("/proc/self/task/" + std::to_string(::getpid()) + "/children");
  for (pid_t pid = 0; children >> pid;)
    if (read_file("/proc/" + std::to_string(pid) + "/cmdline").find("ssh-session") != std::string::npos)
      all.push_back(pid);
  return all;
}

struct Killed {
  std::size_t processes = 0, afterwards = 0;
  std::string output, waited, new_one;
};

asio::awaitable<Killed> killed() {
  SshLab lab(co_await asio::this_coro::executor);
  co_await lab.set_up();
  auto guest = co_await connect_ssh_apart(lab.serve(), lab.login());
  Killed seen;
  seen.processes = session_processes().size();
  ExecRequest request;
  request.command = "echo said; exec sleep 60";
  auto process = co_await guest->exec(std::move(request));
  std::string space(100, '\0');
  seen.output = space.substr(0, co_await process->io().read_some(space));
  for (const pid_t pid : session_processes()) ::kill(pid, SIGKILL);
  try {
    while (co_await process->io().read_some(space) > 0) {
    }
    seen.waited = std::to_string(co_await process->wait_exit());
  } catch (const Error& error) {
    seen.waited = one_line(error);
  }
  try {
    co_await guest->open_unix("/x");
  } catch (const Error& error) {
    seen.new_one = std::string(to_string(error.code())) + ": " + one_line(error);
  }
  guest.reset();
  process.reset();
  for (int i = 0; i < 100 && !session_processes().empty(); ++i) co_await sleep_for(10ms);
  seen.afterwards = session_processes().size();
  co_await lab.stop();
  co_return seen;
}

TEST(SshApart, AProcessThatIsKilledIsALostSession) {
  const Killed seen = run(killed(), 30s);
  EXPECT_EQ(seen.processes, 1U);
  EXPECT_EQ(seen.output, "said\n");
  EXPECT_NE(seen.waited.find("signal 9"), std::string::npos) << seen.waited;
  EXPECT_TRUE(seen.new_one.starts_with("guest_failed: ")) << seen.new_one;
  EXPECT_EQ(seen.afterwards, 0U) << "it is reaped";
}

asio::awaitable<std::size_t> given_up() {
  SshLab lab(co_await asio::this_coro::executor);
  co_await lab.set_up();
  {
    auto guest = co_await connect_ssh_apart(lab.serve(), lab.login());
    auto stream = co_await guest->open_unix(lab.echo_socket());
  }
  for (int i = 0; i < 100 && !session_processes().empty(); ++i) co_await sleep_for(10ms);
  const std::size_t left = session_processes().size();
  co_await lab.stop();
  co_return left;
}

TEST(SshApart, TheProcessEndsWithItsSession) { EXPECT_EQ(run(given_up(), 30s), 0U); }
#endif

}  // namespace
}  // namespace cl::test
