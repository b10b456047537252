// A guest that turns on its host: each way in which it can make the daemon hold or open something (docs/security.md,
// "Limits"), for so many seconds, against the product's own classes in this process. Prints what that took of memory,
// of the loop's time, of descriptors and ports, and how long a sound guest then waits.
//
//     hostile [SECONDS [NAME...]]
//
// Exit code 1 when something was not given back, or the guest is not served again.
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string_view>

#include "docker/port_forward.hpp"
#include "provision/channel/agent.hpp"
#include "src/base/descriptor_limit.hpp"
#include "src/base/file.hpp"
#include "src/base/net/socket_stream.hpp"
#include "src/base/platform.hpp"
#include "tests/integration/ssh_lab.hpp"

namespace cl::test {

int (*session_process)(const char* version) = nullptr;  // ssh_lab.cpp sets it

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

double milliseconds_since(Clock::time_point then) {
  return std::chrono::duration<double, std::milli>(Clock::now() - then).count();
}

/// Of this process, in bytes; the peak is since the last reset.
std::uint64_t peak_memory(bool reset) {
  if (reset) std::ofstream("/proc/self/clear_refs") << "5";
  std::istringstream status(read_file("/proc/self/status"));
  for (std::string word; status >> word;)
    if (word == "VmHWM:") {
      std::uint64_t kib = 0;
      status >> kib;
      return kib << 10;
    }
  return 0;
}

std::size_t descriptors() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& one : fs::directory_iterator("/proc/self/fd")) ++count;
  return count;
}

std::size_t listening_ports() {
  std::size_t count = 0;
  std::istringstream table(read_file("/proc/self/net/tcp"));
  for (std::string line; std::getline(table, line);) count += line.find(" 0A ") != std::string::npos ? 1 : 0;
  return count;
}

/// Memory of the processes of SSH sessions.
std::uint64_t sessions_memory() {
  std::uint64_t sum = 0;
  std::ifstream children(fmt::format("/proc/self/task/{}/children", ::getpid()));
  for (pid_t pid = 0; children >> pid;) {
    const auto command = read_file_if_exists(fmt::format("/proc/{}/cmdline", pid));
    if (command && command->find("ssh-session") != std::string::npos) sum += platform::resident_bytes(pid);
  }
  return sum;
}

struct Took {
  std::uint64_t memory = 0, sessions = 0;
  double late = 0;  ///< the loop, at most, in milliseconds
  std::size_t descriptors = 0, ports = 0;
};

asio::awaitable<void> measure(Took& took) {
  const std::size_t own = descriptors(), listening = listening_ports();
  const std::uint64_t before = peak_memory(true);
  for (int i = 0;; ++i) {
    const auto begun = Clock::now();
    co_await sleep_for(5ms);
    took.late = std::max(took.late, milliseconds_since(begun) - 5);
    if (i % 20 != 0) continue;  // these take a millisecond themselves
    took.memory = peak_memory(false) - std::min(before, peak_memory(false));
    took.sessions = std::max(took.sessions, sessions_memory());
    took.descriptors = std::max(took.descriptors, descriptors() - std::min(own, descriptors()));
    took.ports = std::max(took.ports, listening_ports() - std::min(listening, listening_ports()));
  }
}

/// Everything of it is guest.py's, behind one socket.
class HostileGuest : public Guest {
 public:
  HostileGuest(asio::any_io_executor executor, fs::path socket)
      : executor_(std::move(executor)), socket_(std::move(socket)), lost_(executor_) {}
  asio::awaitable<std::unique_ptr<GuestProcess>> exec(ExecRequest) override { throw Error(Errc::guest_failed, "no"); }
  asio::awaitable<std::unique_ptr<ByteStream>> open_unix(std::string) override {
    try {
      co_return co_await connect_unix(socket_);
    } catch (const Error& error) {
      throw Error(Errc::guest_failed, "the guest").because(one_line(error));
    }
  }
  asio::awaitable<std::unique_ptr<ByteStream>> open_tcp(std::string, std::uint16_t) override { return open_unix(""); }
  asio::awaitable<std::unique_ptr<MessageStream>> open_service(std::string what) override {
    if (!agent_ || agent_->ended()) {
      asio::local::stream_protocol::socket socket(executor_);
      auto [ec] = co_await socket.async_connect(asio::local::stream_protocol::endpoint(socket_.string()), no_throw);
      if (ec) throw Error(Errc::guest_failed, "the agent").because(ec.message());
      agent_ = Agent::start(executor_, cl::Transport(UniqueFd(socket.release())));
      const auto agent = agent_;
      std::optional<Error> failure;
      try {
        co_await with_timeout(2s, "the agent's answer", agent->wait_up());
      } catch (const Error& error) {
        failure = error;
      }
      if (failure) agent->stop();
      if (failure) throw Error(Errc::guest_failed, "the agent").because(one_line(*failure));
    }
    const auto agent = agent_;
    co_return co_await agent->open_service(std::move(what));
  }
  asio::awaitable<void> lost() override { return lost_.wait(); }
  void stop() {
    if (agent_) agent_->stop();
  }

 private:
  asio::any_io_executor executor_;
  fs::path socket_;
  Event lost_;
  std::shared_ptr<Agent> agent_;
};

/// guest.py with its socket, as long as this lives and until stop().
class Script {
 public:
  Script(const asio::any_io_executor& executor, const std::string& mode, const fs::path& socket) {
    std::error_code ignored;
    fs::remove(socket, ignored);
    Command command;
    command.argv = {COLIMA_LIKE_SYSTEM_PYTHON, COLIMA_LIKE_HOSTILE_GUEST, mode, socket.string()};
    child_.emplace(Child::start(executor, command));
  }
  asio::awaitable<void> stop() {
    child_->kill(SIGKILL);
    co_await child_->wait();
  }

 private:
  std::optional<Child> child_;
};

asio::awaitable<std::shared_ptr<Guest>> reached(std::shared_ptr<HostileGuest> guest) { co_return guest; }

/// In milliseconds, until `there` says so; negative: it never did.
asio::awaitable<double> wait_for(std::function<bool()> there) {
  const auto begun = Clock::now();
  while (Clock::now() - begun < 20s) {
    if (there()) co_return milliseconds_since(begun);
    co_await sleep_for(2ms);
  }
  co_return -1;
}

struct Attack {
  const char* name;
  const char* what;
  asio::awaitable<double> (*run)(const std::string& mode, std::chrono::seconds time, Took& took);
};

/// What follows the engine and its containers' ports.
asio::awaitable<double> attack_engine(const std::string& mode, std::chrono::seconds time, Took& took) {
  const auto executor = co_await asio::this_coro::executor;
  const TempDir directory;
  const fs::path socket = directory / "engine";
  const auto guest = std::make_shared<HostileGuest>(executor, socket);
  PortForward::Config config;
  config.guest = [guest] { return reached(guest); };
  config.engine = "engine";
  TaskGroup tasks(executor);
  tasks.spawn("measure", measure(took));
  Script hostile(executor, mode, socket);
  PortForward forward(executor, std::move(config));
  co_await sleep_for(time);
  co_await hostile.stop();
  Script sound(executor, "sound", socket);
  const double again = co_await wait_for([&forward] { return forward.engine_answers() && forward.ports().empty(); });
  co_await tasks.stop();
  co_await forward.stop();
  co_await sound.stop();
  co_return again;
}

/// What follows listening programs, by an agent.
asio::awaitable<double> attack_agent(const std::string& mode, std::chrono::seconds time, Took& took) {
  const auto executor = co_await asio::this_coro::executor;
  const TempDir directory;
  const fs::path socket = directory / "agent";
  const auto guest = std::make_shared<HostileGuest>(executor, socket);
  TaskGroup tasks(executor);
  tasks.spawn("measure", measure(took));
  Script hostile(executor, mode, socket);
  ListenerWatch watch(executor, [guest] { return reached(guest); }, [] {});
  co_await sleep_for(time);
  co_await hostile.stop();
  Script sound(executor, "agent", socket);
  const double again = co_await wait_for([&watch] { return watch.now().size() == 1; });
  co_await tasks.stop();
  guest->stop();
  co_await watch.stop();
  co_await sound.stop();
  co_return again;
}

asio::awaitable<void> be_attacked_by_ssh(SshLab& lab, std::string mode) {
  for (;;) {
    try {
      auto [ours, theirs] = socket_pair();
      Command command;
      command.argv = {COLIMA_LIKE_SYSTEM_PYTHON, COLIMA_LIKE_HOSTILE_SSH, lab.keys().host_private_key, mode};
      command.input = theirs.get();
      Child server = Child::start(co_await asio::this_coro::executor, command);
      theirs.reset();
      const auto guest = co_await connect_ssh_apart(std::move(ours), lab.login());
      co_await guest->lost();
      server.kill(SIGKILL);
      co_await server.wait();
    } catch (const Error&) {
      // It did not get as far; on to the next.
    }
    co_await sleep_for(10ms);
  }
}

asio::awaitable<double> attack_ssh(const std::string& mode, std::chrono::seconds time, Took& took) {
  const auto executor = co_await asio::this_coro::executor;
  SshLab lab(executor);
  co_await lab.set_up();
  TaskGroup tasks(executor);
  tasks.spawn("measure", measure(took));
  tasks.spawn("attack", be_attacked_by_ssh(lab, mode));
  co_await sleep_for(time);
  const auto begun = Clock::now();
  double again = -1;
  {
    const auto guest = co_await lab.connect();
    const GuestResult result = co_await run_in_guest(*guest, "echo here", "");
    if (result.output == "here\n") again = milliseconds_since(begun);
  }
  co_await tasks.stop();
  co_await lab.stop();
  co_return again;
}

constexpr Attack attacks[] = {
    {"ends", "containers' ends without an end", &attack_engine},
    {"list", "a list of two million empty lists, again and again", &attack_engine},
    {"ports", "10,001 published ports, again and again", &attack_engine},
    {"listeners", "listening programs without an end", &attack_agent},
    {"nonsense", "an agent's frames that are none", &attack_agent},
    {"silent", "an agent that says nothing", &attack_agent},
    {"packets", "SSH packets that nobody asked for", &attack_ssh},
    {"requests", "SSH requests whose answers nobody reads", &attack_ssh},
};

asio::awaitable<int> play(std::chrono::seconds time, std::vector<std::string> names) {
  int failures = 0;
  // What a loop opens at its first use stays.
  Took first;
  co_await attack_engine("sound", 1s, first);
  std::printf("%-10s %12s %14s %10s %12s %6s %12s   %s\n", "attack", "memory MiB", "processes MiB", "late ms",
              "descriptors", "ports", "recovered ms", "what");
  for (const Attack& attack : attacks) {
    if (!names.empty() && std::find(names.begin(), names.end(), attack.name) == names.end()) continue;
    const std::size_t before = descriptors();
    Took took;
    const double again = co_await attack.run(attack.name, time, took);
    co_await sleep_for(100ms);
    const std::size_t kept = descriptors() > before ? descriptors() - before : 0;
    std::printf("%-10s %12.1f %14.1f %10.1f %12zu %6zu %12.1f   %s%s\n", attack.name,
                static_cast<double>(took.memory) / (1 << 20), static_cast<double>(took.sessions) / (1 << 20), took.late,
                took.descriptors, took.ports, again, attack.what,
                kept > 0 ? fmt::format("; {} descriptors are kept", kept).c_str() : "");
    std::fflush(stdout);
    if (again < 0 || kept > 0) ++failures;
  }
  co_return failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace cl::test

int main(int argc, char** argv) {
  if (argc == 3 && std::string_view(argv[1]) == "ssh-session") return cl::test::session_process(argv[2]);
  ::signal(SIGPIPE, SIG_IGN);
  cl::raise_descriptor_limit();
  const std::chrono::seconds time(argc > 1 ? std::atoi(argv[1]) : 10);
  boost::asio::io_context io(1);
  int code = 1;
  boost::asio::co_spawn(io, cl::test::play(time, {argv + std::min(argc, 2), argv + argc}),
                        [&](const std::exception_ptr& failure, int result) {
                          code = result;
                          if (failure) std::fprintf(stderr, "%s\n", one_line(cl::error_of(failure)).c_str());
                          if (failure) code = 1;
                          io.stop();
                        });
  io.run();
  return code;
}
