#include "tests/bench/arms.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <cstdlib>
#include <iostream>
#include <sstream>
#include <utility>

#include "docker/port_forward.hpp"
#include "provision/channel/agent.hpp"
#include "provision/ssh/session.hpp"
#include "src/base/child.hpp"
#include "src/base/descriptor_limit.hpp"
#include "src/base/file.hpp"
#include "src/base/net/socket_stream.hpp"
#include "src/base/task_group.hpp"
#include "src/forward/socket_forward.hpp"

namespace cl {}

namespace cl::bench {
namespace {

using Clock = std::chrono::steady_clock;
using Stream = std::unique_ptr<ByteStream>;

// ---- the stand-in engine ---------------------------------------------------------------------------------------

/// One container whose every port leads to the engine's own TCP port.
std::string container_list(const Engine& engine) {
  auto publish = [](int port, int to) {
    return R"({"IP":"127.0.0.1","PrivatePort":)" + std::to_string(to) + R"(,"PublicPort":)" + std::to_string(port) +
           R"(,"Type":"tcp"})";
  };
  std::string ports = publish(engine.published, engine.port);
  for (int i = 0; i < engine.range; ++i) ports += "," + publish(engine.first_of_range + i, engine.port);
  return R"([{"Id":"a","Names":["/bench"],"Ports":[)" + ports +
         R"(],"NetworkSettings":{"Networks":{"b":{"IPAddress":"127.0.0.1","EndpointID":"e"}}}}])";
}

asio::awaitable<void> answer_requests(Stream client, const Engine* engine) {
  std::vector<char> space(256 * 1024, 'x');
  std::string head;
  for (;;) {
    while (head.find("\r\n\r\n") == std::string::npos) {
      const std::size_t got = co_await client->read_some(space);
      if (got == 0) co_return;
      head.append(space.data(), got);
    }
    const std::size_t end = head.find("\r\n\r\n") + 4;
    std::uint64_t already = head.size() - end;
    const auto mark = head.find('?');
    std::uint64_t count = mark < end ? std::strtoull(head.c_str() + mark + 1, nullptr, 10) : 0;
    std::string answer = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: ";
    if (head.starts_with("GET /down")) {
      answer += std::to_string(count) + "\r\n\r\n";
      co_await client->write(answer);
      for (; count > 0; count -= std::min<std::uint64_t>(count, space.size()))
        co_await client->write(std::span<const char>(space).first(std::min<std::uint64_t>(count, space.size())));
      head.erase(0, end);
      continue;
    }
    if (head.starts_with("GET /events")) {
      co_await client->write(std::string_view("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"));
      co_await client->read_some(space);
      co_return;
    }
    if (head.starts_with("GET /containers")) {
      const std::string list = container_list(*engine);
      answer += std::to_string(list.size()) + "\r\n\r\n" + list;
      co_await client->write(answer);
      head.erase(0, end);
      continue;
    }
    if (head.starts_with("POST /up")) {
      while (already < count) {
        const std::size_t got = co_await client->read_some(space);
        if (got == 0) co_return;
        already += got;
      }
      head.clear();
    } else {
      head.erase(0, end);
    }
    answer += "2\r\n\r\nOK";
    co_await client->write(answer);
  }
}

// ---- processes -------------------------------------------------------------------------------------------------

/// What a process of ours does for its whole life: returns once it is ready, leaving tasks behind.
using Serve = std::function<asio::awaitable<void>(asio::any_io_executor)>;

/// Runs `serve` in a forked process; returns when it is ready. Throws when it fails before.
Process fork_process(const std::string& name, const Serve& serve) {
  int ends[2];
  if (::pipe(ends) != 0) throw io_error("pipe", errno);
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::close(ends[0]);
#ifdef __linux__
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
    try {
      asio::io_context io(1);
      std::exception_ptr failure;
      auto on_ready = [&](std::exception_ptr thrown) {
        failure = thrown;
        if (thrown) return io.stop();
        [[maybe_unused]] const auto put = ::write(ends[1], "r", 1);
      };
      asio::co_spawn(io, serve(io.get_executor()), on_ready);
      auto work = asio::make_work_guard(io);
      io.run();
      if (failure) std::rethrow_exception(failure);
    } catch (const Error& error) {
      std::cerr << name << ": " << one_line(error) << "\n";
    } catch (const std::exception& error) {
      std::cerr << name << ": " << error.what() << "\n";
    }
    ::_exit(1);
  }
  ::close(ends[1]);
  char ready = 0;
  const auto got = ::read(ends[0], &ready, 1);
  ::close(ends[0]);
  Process process(pid);
  if (got != 1) throw Error(Errc::internal, name + " did not start");
  return process;
}

/// A SocketForward at `at`. `make_open` runs in the new process.
using MakeOpen = std::function<asio::awaitable<SocketForward::Open>()>;
Process fork_forward(const std::string& name, const fs::path& at, const MakeOpen& make_open) {
  auto forward = std::make_shared<std::optional<SocketForward>>();  // lives as long as the process
  const Serve serve = [=](asio::any_io_executor executor) -> asio::awaitable<void> {
    raise_descriptor_limit();
    SocketForward::Open open = co_await make_open();
    forward->emplace(executor, at, std::move(open));
  };
  return fork_process(name, serve);
}

/// Starts a program with its stdout on a pipe; returns when it has printed something, or at once.
Process start_program(const std::vector<std::string>& argv, const fs::path& log, bool wait_for_a_line) {
  int ends[2];
  if (::pipe(ends) != 0) throw io_error("pipe", errno);
  const pid_t pid = ::fork();
  if (pid == 0) {
    const int log_fd = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    ::dup2(ends[1], 1);
    ::dup2(log_fd, 2);
    ::close(ends[0]);
#ifdef __linux__
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
    std::vector<char*> words;
    for (const std::string& word : argv) words.push_back(const_cast<char*>(word.c_str()));
    words.push_back(nullptr);
    ::execvp(words[0], words.data());
    ::_exit(127);
  }
  ::close(ends[1]);
  Process process(pid);
  char first = 0;
  const bool said = !wait_for_a_line || ::read(ends[0], &first, 1) == 1;
  ::close(ends[0]);
  if (!said) throw Error(Errc::host_requirement, argv[0] + " did not start").because(tail_lines(log, 3));
  return process;
}

template <class T>
T run_here(asio::awaitable<T> work) {
  asio::io_context io(1);
  std::optional<T> result;
  std::exception_ptr failure;
  asio::co_spawn(io, std::move(work), [&](std::exception_ptr thrown, T value) {
    failure = thrown;
    result = std::move(value);
  });
  io.run();
  if (failure) std::rethrow_exception(failure);
  return std::move(*result);
}

UniqueFd connect_loopback(int port) {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return {};
  return fd;
}

SshLogin login_to(const Sshd& sshd) {
  SshLogin login;
  login.user = sshd.user;
  login.private_key = sshd.keys.private_key;
  login.host_key = sshd.keys.host_key;
  return login;
}

/// With the program that runs in guests at its far end; that ends with this process.
asio::awaitable<std::shared_ptr<Agent>> start_agent() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) throw io_error("socketpair", errno);
  Command command;
  command.argv = {COLIMA_LIKE_AGENT, "--stdio"};
  command.input = command.output = ends[1];
  command.errors = 2;
  auto executor = co_await asio::this_coro::executor;
  const Child child = Child::start(executor, command);
  ::close(ends[1]);
  auto agent = Agent::start(executor, Transport(UniqueFd(ends[0])));
  co_await agent->wait_up();
  co_return agent;
}

}  // namespace

Process::~Process() {
  if (pid <= 0) return;
  ::kill(pid, SIGTERM);
  ::waitpid(pid, nullptr, 0);
}

std::uint16_t free_port(int count) {
  static int next = 12000;  // below those that systems give out by themselves, and never the same twice
  for (int first = next; first + count < 32768; first += 97) {
    bool all = true;
    for (int i = 0; all && i < count; ++i) {
      const UniqueFd fd(::socket(AF_INET, SOCK_STREAM, 0));
      sockaddr_in address{};
      address.sin_family = AF_INET;
      address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      address.sin_port = htons(static_cast<std::uint16_t>(first + i));
      all = ::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
    }
    if (!all) continue;
    next = first + count;
    return static_cast<std::uint16_t>(first);
  }
  throw Error(Errc::busy, "there are not " + std::to_string(count) + " free ports in a row");
}

Process fork_engine(const Engine& facts) {
  struct State {
    Engine facts;
    std::optional<asio::local::stream_protocol::acceptor> local;
    std::optional<asio::ip::tcp::acceptor> tcp;
    std::optional<TaskGroup> tasks;
  };
  auto state = std::make_shared<State>();
  state->facts = facts;
  auto accept = [](State* all, auto* acceptor) -> asio::awaitable<void> {
    for (;;) {
      auto socket = co_await acceptor->async_accept(asio::use_awaitable);
      all->tasks->spawn("client", answer_requests(std::make_unique<SocketStream>(std::move(socket)), &all->facts));
    }
  };
  const Serve serve = [=](asio::any_io_executor executor) -> asio::awaitable<void> {
    raise_descriptor_limit();
    const asio::local::stream_protocol::endpoint local(state->facts.socket.string());
    const asio::ip::tcp::endpoint tcp(asio::ip::address_v4::loopback(), state->facts.port);
    state->local.emplace(executor, local);
    state->tcp.emplace(executor, tcp);
    state->tcp->listen(1024);
    state->tasks.emplace(executor);
    state->tasks->spawn("listener", accept(state.get(), &*state->local));
    state->tasks->spawn("listener", accept(state.get(), &*state->tcp));
    co_return;
  };
  return fork_process("engine", serve);
}

Sshd start_sshd(const fs::path& directory) {
  const auto program = find_program("sshd");
  if (!program || !find_program("ssh")) throw Error(Errc::host_requirement, "sshd and ssh are not both installed");
  if (::getuid() == 0) ::mkdir("/run/sshd", 0755);
  Sshd sshd;
  sshd.keys = run_here(ensure_keys(directory / "keys"));
  sshd.port = free_port();
  const passwd* entry = ::getpwuid(::getuid());
  sshd.user = entry != nullptr ? entry->pw_name : "root";
  const std::string config = "ListenAddress 127.0.0.1\nPort " + std::to_string(sshd.port) + "\nHostKey " +
                             sshd.keys.host_private_key.string() + "\nAuthorizedKeysFile " +
                             sshd.keys.authorized_keys.string() +
                             "\nPermitRootLogin prohibit-password\nAuthenticationMethods publickey\nStrictModes no\n"
                             "UsePAM no\nUseDNS no\nPidFile none\nMaxSessions 4096\n";
  write_atomically(directory / "sshd_config", config);
  const std::vector<std::string> argv{program->string(), "-D", "-e", "-f", (directory / "sshd_config").string()};
  sshd.process = start_program(argv, directory / "sshd.log", false);
  for (int tries = 0; !connect_loopback(sshd.port); ++tries) {  // sshd -D says nowhere that it listens
    if (tries == 500)
      throw Error(Errc::host_requirement, "sshd does not listen").because(tail_lines(directory / "sshd.log", 3));
    ::poll(nullptr, 0, 20);
  }
  return sshd;
}

Process start_ssh_l(const Sshd& sshd, const fs::path& directory, const std::string& forward,
                    const std::string& cipher) {
  std::istringstream key(sshd.keys.host_key);
  std::string type, blob;
  key >> type >> blob;
  write_atomically(directory / "known_hosts",
                   "[127.0.0.1]:" + std::to_string(sshd.port) + " " + type + " " + blob + "\n");
  std::vector<std::string> argv{
      "ssh", "-F",   "/dev/null", "-N", "-p", std::to_string(sshd.port), "-i", sshd.keys.private_key.string(),
      "-L",  forward};
  std::vector<std::string> options{"BatchMode=yes",
                                   "IdentitiesOnly=yes",
                                   "StrictHostKeyChecking=yes",
                                   "UserKnownHostsFile=" + (directory / "known_hosts").string(),
                                   "ExitOnForwardFailure=yes",
                                   "PermitLocalCommand=yes",
                                   "LocalCommand=echo ready"};
  if (!cipher.empty()) options.push_back("Ciphers=" + cipher);
  for (const std::string& option : options) argv.insert(argv.end(), {"-o", option});
  argv.push_back(sshd.user + "@127.0.0.1");
  return start_program(argv, directory / "ssh.log", true);
}

Process fork_relay(const fs::path& at, const fs::path& engine) {
  const MakeOpen direct = [engine]() -> asio::awaitable<SocketForward::Open> {
    SocketForward::Open open = [engine] { return connect_unix(engine); };
    co_return open;
  };
  return fork_forward("ours", at, direct);
}

Process fork_relay_over_ssh(const fs::path& at, const Engine& engine, const Sshd& sshd) {
  const MakeOpen over_ssh = [port = sshd.port, login = login_to(sshd),
                             path = engine.socket.string()]() -> asio::awaitable<SocketForward::Open> {
    std::shared_ptr<SshGuest> guest = co_await connect_ssh(connect_loopback(port), login);
    SocketForward::Open open = [guest, path] { return guest->open_unix(path); };
    co_return open;
  };
  return fork_forward("ours+ssh", at, over_ssh);
}

Process fork_relay_over_agent(const fs::path& at, const Engine& engine) {
  const MakeOpen over_agent = [path = engine.socket.string()]() -> asio::awaitable<SocketForward::Open> {
    std::shared_ptr<Agent> agent = co_await start_agent();
    SocketForward::Open open = [agent, path] { return agent->open_unix(path); };
    co_return open;
  };
  return fork_forward("ours+agent", at, over_agent);
}

namespace {

/// Makes a guest, inside the new process.
using MakeGuest = std::function<asio::awaitable<std::shared_ptr<Guest>>()>;

Process fork_ports(const Engine& engine, const MakeGuest& make_guest, double& milliseconds) {
  int ends[2];
  if (::pipe(ends) != 0) throw io_error("pipe", errno);
  const UniqueFd from(ends[0]), to(ends[1]);
  auto ports = std::make_shared<std::optional<PortForward>>();  // lives as long as the process
  const Serve serve = [&, ports](asio::any_io_executor executor) -> asio::awaitable<void> {
    raise_descriptor_limit();
    std::shared_ptr<Guest> guest = co_await make_guest();
    PortForward::Config config;
    config.guest = [guest]() -> asio::awaitable<std::shared_ptr<Guest>> { co_return guest; };
    config.engine = engine.socket.string();
    config.rules.limit = 10'000;  // a range of 8,193 is one of the figures
    const auto begun = Clock::now();
    ports->emplace(executor, std::move(config));
    co_await (*ports)->reconciled();
    const double took = std::chrono::duration<double, std::milli>(Clock::now() - begun).count();
    [[maybe_unused]] const auto put = ::write(to.get(), &took, sizeof took);
    for (const std::string& problem : (*ports)->problems()) std::cerr << "ours+ports: " << problem << "\n";
  };
  Process process = fork_process("ours+ports", serve);
  if (::read(from.get(), &milliseconds, sizeof milliseconds) != sizeof milliseconds) milliseconds = -1;
  return process;
}

/// All that a PortForward needs for TCP.
struct GuestByAgent : Guest {
  explicit GuestByAgent(std::shared_ptr<Agent> by) : agent(std::move(by)) {}
  asio::awaitable<std::unique_ptr<GuestProcess>> exec(ExecRequest) override {
    throw Error(Errc::internal, "nothing is run here");
  }
  asio::awaitable<Stream> open_unix(std::string path) override { return agent->open_unix(std::move(path)); }
  asio::awaitable<Stream> open_tcp(std::string host, std::uint16_t port) override {
    return agent->open_tcp(std::move(host), port);
  }
  asio::awaitable<void> lost() override { return agent->lost(); }
  std::shared_ptr<Agent> agent;
};

}  // namespace

Process fork_ports_over_ssh(const Engine& engine, const Sshd& sshd, double& milliseconds) {
  const MakeGuest over_ssh = [&sshd]() -> asio::awaitable<std::shared_ptr<Guest>> {
    std::shared_ptr<Guest> guest = co_await connect_ssh(connect_loopback(sshd.port), login_to(sshd));
    co_return guest;
  };
  return fork_ports(engine, over_ssh, milliseconds);
}

Process fork_ports_over_agent(const Engine& engine, double& milliseconds) {
  const MakeGuest over_agent = []() -> asio::awaitable<std::shared_ptr<Guest>> {
    auto agent = co_await start_agent();
    co_return std::make_shared<GuestByAgent>(std::move(agent));
  };
  return fork_ports(engine, over_agent, milliseconds);
}

}  // namespace cl::bench
