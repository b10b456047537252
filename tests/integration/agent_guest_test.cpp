#include "provision/channel/agent_guest.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <set>

#include "provision/agent/embedded_agents.hpp"
#include "src/base/child.hpp"
#include "src/base/file.hpp"
#include "src/base/net/socket_stream.hpp"
#include "tests/fakes/choppy_stream.hpp"
#include "tests/fakes/local_guest.hpp"
#include "tests/integration/ssh_lab.hpp"
#include "tests/support/run.hpp"

/// What keeps the agent of a guest, with the real set-up script and the real agent on this host. What the machine has
/// besides, ports and systemd, are a unix socket and two scripts that run the agent on it, again and again.
namespace cl::test {
namespace {

namespace fs = std::filesystem;
using StreamPtr = std::unique_ptr<ByteStream>;

enum class Way { ports, ssh };

void put_program(const fs::path& path, const std::string& text) {
  write_atomically(path, text);
  fs::permissions(path, fs::perms::owner_all);
}

std::string own_architecture() {
#if defined(__aarch64__)
  return "aarch64";
#else
  return "x86_64";
#endif
}

const EmbeddedAgent& own_agent() {
  static const auto all = embedded_agents();
  for (const EmbeddedAgent& one : all)
    if (one.architecture == own_architecture()) return one;
  throw Error(Errc::internal, "there is no agent for this host");
}

struct Bed {
  explicit Bed(asio::any_io_executor ex, Way how) : executor(ex), way(how), lab(ex) {
    local = std::make_shared<LocalGuest>(ex);
    fs::create_directories(bin);
    // systemd-run OPTION... AGENT --ports IN OUT, which restarts; systemctl stop OWN SENT.
    put_program(bin / "systemd-run", R"(#!/bin/sh
while [ $# -gt 4 ]; do shift; done
setsid sh -c 'while :; do "$0" --listen unix:)" +
                                         socket.string() + R"(; sleep 0.02; done' "$1" </dev/null >/dev/null 2>&1 &
echo $! >>)" + pids.string() + "\n");
    put_program(bin / "systemctl",
                "#!/bin/sh\n[ \"$1\" = stop ] || exit 0\nwhile read -r pid; do kill -9 -$pid; done <" + pids.string() +
                    "\n: >" + pids.string() + "\n");
    local->rewrite = [this](std::string& command) {
      const std::string path = "PATH=/usr/sbin";
      const std::size_t at = command.find(path);
      if (at != std::string::npos) command.replace(at, path.size(), "PATH=" + bin.string() + ":/usr/sbin");
    };
  }
  AgentGuest& start() {
    AgentGuest::Config config;
    config.folder = (directory / "run" / "agent").string();
    config.answer = 500ms;
    config.again = 20ms;
    config.patience = 5s;
    if (way == Way::ports) {
      config.ports = [this]() -> asio::awaitable<cl::Transport> {
        const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        socket.string().copy(address.sun_path, sizeof address.sun_path - 1);
        UniqueFd connected(fd);
        if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) throw io_error("connect", errno);
        co_return cl::Transport(std::move(connected));
      };
    }
    guest = std::make_shared<AgentGuest>(executor, local, std::move(config));
    return *guest;
  }
  asio::awaitable<void> up() {
    if (!guest) start();
    while (!guest->by_agent()) co_await sleep_for(1ms);
  }
  /// Those that serve us.
  std::set<pid_t> agents() const {
    std::set<pid_t> found;
    for (const auto& entry : fs::directory_iterator("/proc")) {
      std::error_code gone;
      const std::string program = fs::read_symlink(entry.path() / "exe", gone).string();
      const std::string name = entry.path().filename().string();
      if (!gone && program.starts_with(directory.path().string())) found.insert(std::stoi(name));
    }
    return found;
  }
  void signal_agents(int signal) const {
    for (const pid_t one : agents()) ::kill(one, signal);
  }
  asio::awaitable<void> end() {
    if (guest) co_await guest->stop();
    signal_agents(SIGCONT);
    Command stop;
    stop.argv = {(bin / "systemctl").string(), "stop"};
    if (fs::exists(pids)) co_await cl::run(std::move(stop), "", 5s);
    signal_agents(SIGKILL);
    co_await lab.stop();
  }

  asio::any_io_executor executor;
  Way way;
  TempDir directory;
  fs::path bin = directory / "bin", socket = directory / "ports", pids = directory / "pids";
  SshLab lab;
  std::shared_ptr<LocalGuest> local;
  std::shared_ptr<AgentGuest> guest;
};

asio::awaitable<std::string> failure_of(asio::awaitable<StreamPtr> opening) {
  try {
    co_await std::move(opening);
  } catch (const Error& error) {
    co_return std::string(to_string(error.code())) + ": " + one_line(error);
  }
  co_return "opened";
}

class AgentGuests : public ::testing::TestWithParam<Way> {};
INSTANTIATE_TEST_SUITE_P(By, AgentGuests, ::testing::Values(Way::ports, Way::ssh), [](const auto& way) {
  return way.param == Way::ports ? std::string("Ports") : std::string("Ssh");
});

asio::awaitable<std::string> sent(Way way) {
  Bed bed(co_await asio::this_coro::executor, way);
  co_await bed.up();
  auto stream = co_await bed.guest->open_unix(bed.lab.echo_socket());
  co_await stream->write(std::string_view("there and "));
  std::string seen = co_await read_exactly(*stream, 10);
  co_await stream->write(std::string_view("back"));
  co_await stream->shutdown_write();  // the echo ends its direction only after that
  seen += co_await read_to_end(*stream);
  seen += ", " + co_await failure_of(bed.guest->open_tcp("localhost", 1));  // names are sshd's
  const fs::path there = bed.directory / "run" / "agent" / std::string(own_agent().sha256);
  struct stat facts{};
  seen += ::stat(there.c_str(), &facts) == 0 && (facts.st_mode & 07777) == 0755 ? ", kept" : ", missing";
  const auto inode = facts.st_ino;
  // Another daemon finds it, and sends nothing.
  co_await bed.guest->stop();
  bed.guest.reset();
  const int commands = bed.local->commands;
  co_await bed.up();
  seen += ", " + std::to_string(bed.local->commands - commands) + " more";
  ::stat(there.c_str(), &facts);
  seen += facts.st_ino == inode ? "" : ", sent again";
  co_await bed.end();
  co_return seen;
}

TEST_P(AgentGuests, AreSentTheirAgentOnce) {
  const bool ports = GetParam() == Way::ports;
  EXPECT_EQ(
      run(sent(GetParam()), 30s),
      std::string("there and back, guest_failed: SSH was asked for localhost, kept, ") + (ports ? "0 more" : "1 more"));
}

asio::awaitable<std::string> killed(Way way) {
  Bed bed(co_await asio::this_coro::executor, way);
  co_await bed.up();
  const std::string echo = bed.lab.echo_socket();
  auto stream = co_await bed.guest->open_unix(echo);
  const auto first = bed.agents();
  bed.signal_agents(SIGKILL);
  std::string seen;
  char space[8];
  try {
    const std::size_t got = co_await stream->read_some(space);
    seen = std::to_string(got) + " bytes";
  } catch (const Error& error) {
    seen = error.what();
  }
  seen += " | " + co_await failure_of(bed.guest->open_unix("/x"));
  co_await bed.up();  // by itself
  for (const pid_t one : bed.agents()) seen += first.contains(one) ? " the same" : "";
  auto next = co_await bed.guest->open_unix(echo);
  co_await next->write(std::string_view("here"));
  seen += " " + co_await read_exactly(*next, 4);
  co_await bed.end();
  co_return seen;
}

TEST_P(AgentGuests, HaveTheirAgentAgainWhenItWasKilled) {
  EXPECT_EQ(run(killed(GetParam()), 20s),
            "the connection in the guest broke | guest_failed: SSH was asked for /x here");
}

asio::awaitable<std::string> stopped_while_lost(Way way) {
  auto executor = co_await asio::this_coro::executor;
  std::string seen;
  for (int turns = 0; turns < 6; ++turns) {
    Bed bed(executor, way);
    co_await bed.up();
    bed.signal_agents(SIGKILL);
    for (int i = 0; i < turns; ++i) co_await sleep_for(std::chrono::milliseconds(i % 2));
    const auto begun = std::chrono::steady_clock::now();
    co_await bed.guest->stop();
    if (std::chrono::steady_clock::now() - begun > 1s) seen += " slow after " + std::to_string(turns);
    co_await bed.end();
  }
  co_return seen;
}

TEST_P(AgentGuests, StopAtOnceWhenTheirAgentIsJustBeingLost) {
  EXPECT_EQ(run(stopped_while_lost(GetParam()), 60s), "");
}

asio::awaitable<std::string> hanging(Way way) {
  Bed bed(co_await asio::this_coro::executor, way);
  co_await bed.up();
  co_await bed.guest->check(2s);
  std::string seen = bed.guest->by_agent() ? "kept, " : "given up too early, ";
  bed.signal_agents(SIGSTOP);
  co_await bed.guest->check(100ms);
  seen += bed.guest->by_agent() ? "kept" : "given up";
  bed.signal_agents(SIGKILL);
  co_await bed.up();
  co_await bed.end();
  co_return seen + ", again";
}

TEST_P(AgentGuests, GiveUpAnAgentThatDoesNotAnswer) {
  EXPECT_EQ(run(hanging(GetParam()), 20s), "kept, given up, again");
}

/// What a guest says of its agent when `make` has made it one that has none.
asio::awaitable<std::string> without(Way way, std::function<void(Bed&)> make) {
  Bed bed(co_await asio::this_coro::executor, way);
  make(bed);
  bed.start();
  std::string seen;
  try {
    co_await bed.guest->open_service("listeners");
  } catch (const Error& error) {
    seen = one_line(error);
  }
  seen += " | " + co_await failure_of(bed.guest->open_unix("/x"));
  co_await bed.end();
  co_return seen;
}

std::string refusal(const std::string& why) {
  return "there is no agent in the guest for listeners: the agent cannot be started: " + why +
         " | guest_failed: SSH was asked for /x";
}

TEST_P(AgentGuests, OfAnotherKindAreServedBySsh) {
  auto another_cpu = [](Bed& bed) { put_program(bed.bin / "uname", "#!/bin/sh\necho riscv64\n"); };
  EXPECT_EQ(run(without(GetParam(), another_cpu)), refusal("this program has none for riscv64"));
}

TEST_P(AgentGuests, WithoutSpaceSaySo) {
  auto full = [](Bed& bed) {
    put_program(bed.bin / "head", "#!/bin/sh\nread -r some\necho 'No space left on device' >&2\nexit 1\n");
  };
  EXPECT_EQ(run(without(GetParam(), full)), refusal("it cannot be written: No space left on device"));
}

TEST_P(AgentGuests, WhoseAgentIsSpoiltOnItsWayRunNothing) {
  auto spoil = [](Bed& bed) { put_program(bed.bin / "head", "#!/bin/sh\n/usr/bin/head \"$@\" | tr 'a' 'b'\n"); };
  const std::string size = std::to_string(own_agent().bytes.size());
  EXPECT_EQ(run(without(GetParam(), spoil)),
            refusal("it did not arrive as it was sent, " + size + " of " + size + " bytes"));
}

TEST_P(AgentGuests, RunNoAgentWhereOthersCanWrite) {
  std::string folder;
  auto open = [&folder](Bed& bed) {
    folder = bed.directory / "run" / "agent";
    fs::create_directories(folder);
    fs::permissions(fs::path(folder).parent_path(), fs::perms::all);
  };
  const std::string said = run(without(GetParam(), open));
  EXPECT_EQ(said, refusal("others can write to " + folder));
}

TEST_P(AgentGuests, WhereItCannotBeExecutedSaySo) {
  auto broken = [](Bed& bed) {  // it has the digest, as an image's own that this kernel does not take
    put_program(bed.bin / "sha256sum",
                "#!/bin/sh\ncat >/dev/null\necho '" + std::string(own_agent().sha256) + "  -'\n");
    put_program(bed.bin / "head", "#!/bin/sh\n/usr/bin/head \"$@\" >/dev/null\nprintf '\\177ELF nothing'\n");
  };
  const std::string said = run(without(GetParam(), broken));
  EXPECT_NE(said.find("it cannot be executed: "), std::string::npos) << said;
  EXPECT_NE(said.find("SSH was asked for /x"), std::string::npos) << said;
}

// ---- over ports alone -------------------------------------------------------------------------------------------

asio::awaitable<std::string> another_build() {
  Bed bed(co_await asio::this_coro::executor, Way::ports);
  // The same program with another name of its build, which runs already.
  std::string bytes(own_agent().bytes);
  for (std::size_t at; (at = bytes.find(agent_build())) != std::string::npos;)
    bytes.replace(at, agent_build().size(), std::string(agent_build().size(), '0'));
  put_program(bed.directory / "old", bytes);
  Command old;
  old.argv = {(bed.bin / "systemd-run").string(), (bed.directory / "old").string(), "--ports", "in", "out"};
  co_await cl::run(std::move(old), "", 5s);
  while (!fs::exists(bed.socket)) co_await sleep_for(1ms);
  co_await bed.up();
  std::string seen;
  for (const pid_t one : bed.agents())
    seen += fs::read_symlink("/proc/" + std::to_string(one) + "/exe").filename().string() == own_agent().sha256
                ? "ours "
                : "the old one ";
  co_await bed.end();
  co_return seen;
}

TEST(AgentGuest, IsSentItsAgentWhenItHasOneOfAnotherBuild) { EXPECT_EQ(run(another_build(), 20s), "ours "); }

/// Sends pattern() and reads it back; how many bytes came back right.
asio::awaitable<void> round_trip(ByteStream& stream, std::size_t count, std::size_t& right) {
  auto send = [](ByteStream& to, std::size_t all) -> asio::awaitable<void> {
    for (std::size_t at = 0; at < all; at += 100'000) {
      const std::string bytes = pattern(std::min<std::size_t>(100'000, all - at), at);
      co_await to.write(bytes);
    }
    co_await to.shutdown_write();
  };
  TaskGroup tasks(co_await asio::this_coro::executor);
  tasks.spawn("send", send(stream, count));
  std::vector<char> space(128 * 1024);
  for (;;) {
    const std::size_t got = co_await stream.read_some(space);
    if (got == 0) break;
    if (std::string_view(space.data(), got) == pattern(got, right)) right += got;
  }
  co_await tasks.stop();
}

asio::awaitable<std::string> bulk(Way way, std::size_t count, int streams) {
  auto executor = co_await asio::this_coro::executor;
  Bed bed(executor, way);
  co_await bed.up();
  const std::string echo = bed.lab.echo_socket();
  std::vector<StreamPtr> open;
  std::vector<std::size_t> right(static_cast<std::size_t>(streams));
  TaskGroup tasks(executor);
  for (std::size_t& one : right) {
    auto stream = co_await bed.guest->open_unix(echo);
    tasks.spawn("round trip", round_trip(*stream, count, one));
    open.push_back(std::move(stream));
  }
  while (tasks.size() > 0) co_await sleep_for(5ms);
  std::size_t all = 0;
  for (const std::size_t one : right) all += one;
  co_await bed.end();
  co_return std::to_string(all);
}

TEST_P(AgentGuests, BringBulkBackUnharmed) {
  constexpr std::size_t count = 24 << 20;
  EXPECT_EQ(run(bulk(GetParam(), count, 1), 60s), std::to_string(count));
  EXPECT_EQ(run(bulk(GetParam(), count / 4, 4), 60s), std::to_string(count));
}

asio::awaitable<std::string> quiesced() {
  auto executor = co_await asio::this_coro::executor;
  Bed bed(executor, Way::ports);
  co_await bed.up();
  std::size_t right = 0;
  auto stream = co_await bed.guest->open_unix(bed.lab.echo_socket());
  TaskGroup tasks(executor);
  tasks.spawn("round trip", round_trip(*stream, 16 << 20, right));
  std::string seen;
  for (int i = 0; i < 5; ++i) {
    co_await sleep_for(10ms);
    co_await bed.guest->quiesce();
    if (bed.guest->by_agent()) seen += "not quiesced ";
    const std::size_t then = right;
    auto ssh = failure_of(bed.guest->open_unix("/x"));
    if (co_await std::move(ssh) == "opened") seen += "opened ";
    co_await sleep_for(10ms);
    if (right > then + agent::usual_window) seen += "goes on ";
    bed.guest->resume();
    if (!bed.guest->by_agent()) seen += "lost ";
  }
  while (tasks.size() > 0) co_await sleep_for(5ms);
  seen += std::to_string(right);
  co_await bed.end();
  co_return seen;
}

TEST(AgentGuest, LosesNothingWhenItPauses) { EXPECT_EQ(run(quiesced(), 30s), std::to_string(16 << 20)); }

}  // namespace
}  // namespace cl::test
