/// What a forwarded Docker socket costs, against the same engine's socket itself and against `ssh -L`.
///
///   socket_bench [--bulk MIB] [--rounds N] [--engine SOCKET]      arms made here, see below
///   socket_bench [--rounds N] --arm NAME=SOCKET --arm NAME=SOCKET ...   sockets that are there, e.g. of a running
///   machine
///
/// Arms made here, each in processes of its own: `direct` (the engine's socket), `ours` (SocketForward to that socket:
/// the relay alone), `ssh -L` (OpenSSH's client and an sshd on loopback) and `ours+ssh` (SocketForward over our SSH
/// session to the same sshd). The engine is a stand-in that answers GET /_ping, sends and takes bytes; with --engine it
/// is a real one, and the bulk transfers are left out.
///
/// The arms take turns forwards and backwards (A B C D D C B A). Of each: the first sample, the median, the 99th
/// percentile, and the ratio of medians to the first arm. It prints; it asserts nothing.
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <list>
#include <map>
#include <sstream>

#include "docker/socket_forward.hpp"
#include "provision/ssh/keys.hpp"
#include "provision/ssh/session.hpp"
#include "src/base/child.hpp"
#include "src/base/file.hpp"
#include "src/base/unique_fd.hpp"

namespace cl::bench {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using Stream = std::unique_ptr<ByteStream>;

// ---- the stand-in engine ---------------------------------------------------------------------------------------

/// Answers "GET /_ping", "GET /down?BYTES" and "POST /up?BYTES" (that many bytes follow the header).
asio::awaitable<void> answer_requests(Stream client) {
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

struct Process {
  pid_t pid = -1;
  Process() = default;
  explicit Process(pid_t id) : pid(id) {}
  Process(Process&& other) noexcept : pid(std::exchange(other.pid, -1)) {}
  Process& operator=(Process&& other) noexcept {
    std::swap(pid, other.pid);
    return *this;
  }
  ~Process() {
    if (pid <= 0) return;
    ::kill(pid, SIGTERM);
    ::waitpid(pid, nullptr, 0);
  }
};

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

Process fork_engine(const fs::path& at) {
  struct Engine {
    std::optional<asio::local::stream_protocol::acceptor> acceptor;
    std::optional<TaskGroup> tasks;
  };
  auto engine = std::make_shared<Engine>();
  auto accept = [](Engine* all) -> asio::awaitable<void> {
    for (;;) {
      auto socket = co_await all->acceptor->async_accept(asio::use_awaitable);
      all->tasks->spawn("client", answer_requests(std::make_unique<SocketStream>(std::move(socket))));
    }
  };
  const Serve serve = [=](asio::any_io_executor executor) -> asio::awaitable<void> {
    raise_descriptor_limit();
    const asio::local::stream_protocol::endpoint endpoint(at.string());
    engine->acceptor.emplace(executor, endpoint);
    engine->tasks.emplace(executor);
    engine->tasks->spawn("listener", accept(engine.get()));
    co_return;
  };
  return fork_process("engine", serve);
}

/// Starts a program with its stdout on a pipe; returns after the first line it prints, or after `line` is empty at
/// once.
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

// ---- an sshd on loopback with keys of its own ------------------------------------------------------------------

struct Sshd {
  Process process;
  KeySet keys;
  int port = 0;
  std::string user;
};

UniqueFd connect_loopback(int port) {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return {};
  return fd;
}

int free_port() {
  const UniqueFd fd(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size);
  ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.sin_port);
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

Process start_ssh_l(const Sshd& sshd, const fs::path& directory, const fs::path& at, const fs::path& engine) {
  std::istringstream key(sshd.keys.host_key);
  std::string type, blob;
  key >> type >> blob;
  write_atomically(directory / "known_hosts",
                   "[127.0.0.1]:" + std::to_string(sshd.port) + " " + type + " " + blob + "\n");
  std::vector<std::string> argv{"ssh",       "-F",
                                "/dev/null", "-N",
                                "-p",        std::to_string(sshd.port),
                                "-i",        sshd.keys.private_key.string(),
                                "-L",        at.string() + ":" + engine.string()};
  const std::vector<std::string> options{"BatchMode=yes",
                                         "IdentitiesOnly=yes",
                                         "StrictHostKeyChecking=yes",
                                         "UserKnownHostsFile=" + (directory / "known_hosts").string(),
                                         "ExitOnForwardFailure=yes",
                                         "PermitLocalCommand=yes",
                                         "LocalCommand=echo ready"};
  for (const std::string& option : options) {
    argv.push_back("-o");
    argv.push_back(option);
  }
  argv.push_back(sshd.user + "@127.0.0.1");
  return start_program(argv, directory / "ssh.log", true);
}

asio::awaitable<SocketForward::Open> open_over_ssh(int port, SshLogin login, std::string engine) {
  std::shared_ptr<SshGuest> guest = co_await connect_ssh(connect_loopback(port), std::move(login));
  SocketForward::Open open = [guest, engine] { return guest->open_unix(engine); };
  co_return open;
}

// ---- the client: blocking calls, nothing of ours in the way ----------------------------------------------------

UniqueFd connect_to(const fs::path& path) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.native().copy(address.sun_path, sizeof address.sun_path - 1);
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    throw io_error("cannot connect to " + path.string(), errno);
  return fd;
}

void send_all(int fd, const char* data, std::size_t size) {
  while (size > 0) {
    const auto put = ::send(fd, data, size, 0);
    if (put < 0) throw io_error("cannot send", errno);
    data += put;
    size -= static_cast<std::size_t>(put);
  }
}

/// Reads one whole answer; returns the size of its body.
std::uint64_t read_answer(int fd) {
  static std::vector<char> space(256 * 1024);
  std::string head;
  std::size_t end = std::string::npos;
  while (end == std::string::npos) {
    const auto got = ::recv(fd, space.data(), space.size(), 0);
    if (got <= 0) throw Error(Errc::io, "the connection ended early");
    head.append(space.data(), static_cast<std::size_t>(got));
    end = head.find("\r\n\r\n");
  }
  std::uint64_t length = 0;
  if (const auto at = head.find("Content-Length: "); at < end)
    length = std::strtoull(head.c_str() + at + 16, nullptr, 10);
  std::uint64_t seen = head.size() - end - 4;
  while (seen < length) {
    const auto got = ::recv(fd, space.data(), space.size(), 0);
    if (got <= 0) throw Error(Errc::io, "the connection ended early");
    seen += static_cast<std::uint64_t>(got);
  }
  return length;
}

double seconds(Clock::time_point since) { return std::chrono::duration<double>(Clock::now() - since).count(); }

const std::string ping_request = "GET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n";

double ping_new(const fs::path& socket) {
  const auto begin = Clock::now();
  const UniqueFd fd = connect_to(socket);
  send_all(fd.get(), ping_request.data(), ping_request.size());
  read_answer(fd.get());
  return seconds(begin);
}

double ping_again(int fd) {
  const auto begin = Clock::now();
  send_all(fd, ping_request.data(), ping_request.size());
  read_answer(fd);
  return seconds(begin);
}

double bulk_down(const fs::path& socket, std::uint64_t bytes) {
  const UniqueFd fd = connect_to(socket);
  const std::string request = "GET /down?" + std::to_string(bytes) + " HTTP/1.1\r\n\r\n";
  const auto begin = Clock::now();
  send_all(fd.get(), request.data(), request.size());
  if (read_answer(fd.get()) != bytes) throw Error(Errc::internal, "a wrong number of bytes came");
  return seconds(begin);
}

double bulk_up(const fs::path& socket, std::uint64_t bytes) {
  static const std::vector<char> space(256 * 1024, 'y');
  const UniqueFd fd = connect_to(socket);
  const std::string request = "POST /up?" + std::to_string(bytes) + " HTTP/1.1\r\n\r\n";
  const auto begin = Clock::now();
  send_all(fd.get(), request.data(), request.size());
  for (std::uint64_t left = bytes; left > 0; left -= std::min<std::uint64_t>(left, space.size()))
    send_all(fd.get(), space.data(), std::min<std::uint64_t>(left, space.size()));
  read_answer(fd.get());
  return seconds(begin);
}

// ---- measuring and printing ------------------------------------------------------------------------------------

struct Arm {
  std::string name;
  fs::path socket;
  pid_t pid = -1;  // the process that forwards, if it is one of ours
};

struct Samples {
  std::vector<double> all;  // in the order taken
  void add(double value) { all.push_back(value); }
  std::vector<double> sorted() const {
    std::vector<double> values = all;
    std::sort(values.begin(), values.end());
    return values;
  }
  double median() const {
    const std::vector<double> values = sorted();
    return (values[(values.size() - 1) / 2] + values[values.size() / 2]) / 2;
  }
  double p99() const {
    const std::vector<double> values = sorted();
    return values[std::min(values.size() - 1, values.size() * 99 / 100)];
  }
};

/// One table: a row per arm. `scale` turns seconds into the unit; `inverse` means "more is better" (MiB/s).
void print(const std::string& title, const std::vector<Arm>& arms, std::map<std::string, Samples>& of, double scale,
           bool inverse) {
  std::printf("\n%s\n%-12s %10s %10s %10s %10s\n", title.c_str(), "", "first", "median", inverse ? "worst" : "p99",
              ("x " + arms[0].name).c_str());
  for (const Arm& arm : arms) {
    const Samples& samples = of[arm.name];
    auto show = [&](double value) { return inverse ? scale / value : value * scale; };
    std::printf("%-12s %10.1f %10.1f %10.1f %9.2fx\n", arm.name.c_str(), show(samples.all.front()),
                show(samples.median()), show(samples.p99()), samples.median() / of[arms[0].name].median());
  }
  std::fflush(stdout);
}

/// A field of /proc/PID/smaps_rollup in KiB; 0 where there is none.
long memory_kib(pid_t pid, std::string_view field) {
  std::istringstream text(read_file_if_exists("/proc/" + std::to_string(pid) + "/smaps_rollup").value_or(""));
  for (std::string line; std::getline(text, line);)
    if (line.starts_with(field)) return std::strtol(line.c_str() + field.size(), nullptr, 10);
  return 0;
}

/// CPU seconds a process has used.
double cpu_seconds(pid_t pid) {
  const std::string stat = read_file_if_exists("/proc/" + std::to_string(pid) + "/stat").value_or("");
  std::istringstream words(stat.substr(std::min(stat.size(), stat.rfind(')') + 1)));
  std::string word;
  double ticks = 0;
  for (int field = 3; words >> word; ++field)  // proc(5): 14 is utime, 15 is stime
    if (field == 14 || field == 15) ticks += std::strtod(word.c_str(), nullptr);
  return ticks / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

void measure(const std::vector<Arm>& arms, int rounds, std::uint64_t bulk) {
  std::map<std::string, Samples> fresh, kept, down, up;
  std::map<std::string, double> cpu;
  std::vector<const Arm*> order;
  for (int round = 0; round < rounds; ++round) {
    for (const Arm& arm : arms) order.push_back(&arm);
    for (auto arm = arms.rbegin(); arm != arms.rend(); ++arm) order.push_back(&*arm);
  }
  for (const Arm* arm : order) {
    for (int i = 0; i < 100; ++i) fresh[arm->name].add(ping_new(arm->socket));
    const UniqueFd fd = connect_to(arm->socket);
    for (int i = 0; i < 500; ++i) kept[arm->name].add(ping_again(fd.get()));
  }
  print("new connection + GET /_ping, microseconds", arms, fresh, 1e6, false);
  print("GET /_ping on a connection that is kept, microseconds", arms, kept, 1e6, false);
  if (bulk > 0) {
    const double mib = static_cast<double>(bulk) / (1 << 20);
    for (const Arm* arm : order) {
      const double before = arm->pid > 0 ? cpu_seconds(arm->pid) : 0;
      down[arm->name].add(bulk_down(arm->socket, bulk));
      up[arm->name].add(bulk_up(arm->socket, bulk));
      if (arm->pid > 0) cpu[arm->name] += cpu_seconds(arm->pid) - before;
    }
    const std::string size = std::to_string(bulk >> 20) + " MiB";
    print(size + " from the engine, MiB/s (ratio of times)", arms, down, mib, true);
    print(size + " to the engine, MiB/s (ratio of times)", arms, up, mib, true);
    std::printf("\nCPU seconds of the forwarding process per GiB\n");
    for (const Arm& arm : arms)
      if (arm.pid > 0)
        std::printf("%-12s %10.2f\n", arm.name.c_str(), cpu[arm.name] / (2.0 * 2.0 * rounds * mib / 1024.0));
  }
  constexpr int idle = 400;
  std::printf("\nmemory of the forwarding process, KiB: PSS before, and per idle connection of %d\n", idle);
  for (const Arm& arm : arms) {
    if (arm.pid <= 0) continue;
    const long before = memory_kib(arm.pid, "Pss:");
    std::vector<UniqueFd> open;
    for (int i = 0; i < idle; ++i) {
      open.push_back(connect_to(arm.socket));
      ping_again(open.back().get());
    }
    std::printf("%-12s %10ld %10.1f\n", arm.name.c_str(), before,
                static_cast<double>(memory_kib(arm.pid, "Pss:") - before) / idle);
  }
}

int usage() {
  std::cerr << "usage: socket_bench [--bulk MIB] [--rounds N] [--engine SOCKET]\n"
               "       socket_bench [--rounds N] --arm NAME=SOCKET ...\n";
  return 2;
}

int main_of_bench(int argc, char** argv) {
  std::uint64_t bulk = 1024;
  int rounds = 1;
  fs::path engine;
  std::vector<Arm> arms;
  for (int i = 1; i < argc; ++i) {
    const std::string_view flag = argv[i];
    if (i + 1 == argc) return usage();
    const std::string value = argv[++i];
    if (flag == "--bulk") {
      bulk = std::strtoull(value.c_str(), nullptr, 10);
    } else if (flag == "--rounds") {
      rounds = std::max(1, std::atoi(value.c_str()));
    } else if (flag == "--engine") {
      engine = value;
    } else if (const auto equals = value.find('='); flag == "--arm" && equals != std::string::npos) {
      Arm arm;
      arm.name = value.substr(0, equals);
      arm.socket = value.substr(equals + 1);
      arms.push_back(arm);
    } else {
      return usage();
    }
  }
  if (!arms.empty()) {
    measure(arms, rounds, 0);
    return 0;
  }

  const TemporaryDirectory directory("/tmp", "cl-bench-");
  std::list<Process> processes;
  if (engine.empty()) {
    engine = directory.path() / "engine.sock";
    processes.push_back(fork_engine(engine));
  } else {
    bulk = 0;
  }
  auto add = [&](std::string name, const fs::path& socket, Process process) {
    arms.push_back(Arm{std::move(name), socket, process.pid});
    processes.push_back(std::move(process));
  };
  arms.push_back(Arm{"direct", engine, -1});

  const MakeOpen direct = [engine]() -> asio::awaitable<SocketForward::Open> {
    SocketForward::Open open = [engine] { return connect_unix(engine); };
    co_return open;
  };
  const fs::path ours = directory.path() / "ours.sock";
  add("ours", ours, fork_forward("ours", ours, direct));
  std::optional<Sshd> sshd;
  try {
    sshd = start_sshd(directory.path());
    const fs::path ssh_l = directory.path() / "ssh-l.sock", over = directory.path() / "over.sock";
    add("ssh -L", ssh_l, start_ssh_l(*sshd, directory.path(), ssh_l, engine));
    SshLogin login;
    login.user = sshd->user;
    login.private_key = sshd->keys.private_key;
    login.host_key = sshd->keys.host_key;
    const MakeOpen over_ssh = [&] { return open_over_ssh(sshd->port, login, engine.string()); };
    add("ours+ssh", over, fork_forward("ours+ssh", over, over_ssh));
  } catch (const Error& error) {
    std::cerr << "without the SSH arms: " << one_line(error) << "\n";
  }
  measure(arms, rounds, bulk << 20);
  processes.clear();
  return 0;
}

}  // namespace
}  // namespace cl::bench

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  try {
    return cl::bench::main_of_bench(argc, argv);
  } catch (const cl::Error& error) {
    std::cerr << "socket_bench: " << cl::one_line(error) << "\n";
  }
  return 1;
}
