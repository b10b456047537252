/// What forwarded sockets and ports cost, against the same engine itself and against `ssh -L`.
///
///   socket_bench [--bulk MIB] [--rounds N] [--engine SOCKET]      arms made here, see below
///   socket_bench [--rounds N] --arm NAME=SOCKET --arm NAME=SOCKET ...   sockets that are there, e.g. of a running
///   machine
///
/// Arms made here, each in processes of its own. Of the socket: `direct` (the engine's socket), `ours` (SocketForward
/// to that socket: the relay alone), `ssh -L` (OpenSSH's client with its default cipher, and an sshd on loopback), `ssh
/// -L gcm` (with aes128-gcm) and `ours+ssh` (SocketForward over our SSH session to the same sshd). Of a published port:
/// the engine's own TCP port, `ssh -L`, and `ours+ssh` (PortForward over our SSH session). The engine is a stand-in
/// that answers GET /_ping, sends and takes bytes; with --engine it is a real one, and bulk transfers and ports are
/// left out.
///
/// The arms take turns forwards and backwards (A B C D D C B A). Of each: the first sample, the median, the 99th
/// percentile, and the ratio of medians to the first arm. It prints; it asserts nothing.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <map>
#include <optional>
#include <sstream>
#include <thread>

#include "src/base/descriptor_limit.hpp"
#include "src/base/file.hpp"
#include "src/forward/socket_forward.hpp"
#include "tests/bench/arms.hpp"

namespace cl::bench {
namespace {

using Clock = std::chrono::steady_clock;

// ---- the client: blocking calls, nothing of ours in the way ----------------------------------------------------

UniqueFd connect_to(const Arm& arm) {
  UniqueFd fd(::socket(arm.socket.empty() ? AF_INET : AF_UNIX, SOCK_STREAM, 0));
  sockaddr_un local{};
  sockaddr_in tcp{};
  local.sun_family = AF_UNIX;
  arm.socket.native().copy(local.sun_path, sizeof local.sun_path - 1);
  tcp.sin_family = AF_INET;
  tcp.sin_port = htons(arm.port);
  tcp.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int on = 1;
  if (arm.socket.empty()) ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  const auto* where = arm.socket.empty() ? reinterpret_cast<sockaddr*>(&tcp) : reinterpret_cast<sockaddr*>(&local);
  if (::connect(fd.get(), where, arm.socket.empty() ? sizeof tcp : sizeof local) != 0)
    throw io_error("cannot connect to " + arm.name, errno);
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
  static thread_local std::vector<char> space(256 * 1024);
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

double ping_new(const Arm& arm) {
  const auto begin = Clock::now();
  const UniqueFd fd = connect_to(arm);
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

double bulk_down(const Arm& arm, std::uint64_t bytes) {
  const UniqueFd fd = connect_to(arm);
  const std::string request = "GET /down?" + std::to_string(bytes) + " HTTP/1.1\r\n\r\n";
  const auto begin = Clock::now();
  send_all(fd.get(), request.data(), request.size());
  if (read_answer(fd.get()) != bytes) throw Error(Errc::internal, "a wrong number of bytes came");
  return seconds(begin);
}

double bulk_up(const Arm& arm, std::uint64_t bytes) {
  static const std::vector<char> space(256 * 1024, 'y');
  const UniqueFd fd = connect_to(arm);
  const std::string request = "POST /up?" + std::to_string(bytes) + " HTTP/1.1\r\n\r\n";
  const auto begin = Clock::now();
  send_all(fd.get(), request.data(), request.size());
  for (std::uint64_t left = bytes; left > 0; left -= std::min<std::uint64_t>(left, space.size()))
    send_all(fd.get(), space.data(), std::min<std::uint64_t>(left, space.size()));
  read_answer(fd.get());
  return seconds(begin);
}

// ---- measuring and printing ------------------------------------------------------------------------------------

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

/// A row per arm, twice each: forwards and backwards.
std::vector<const Arm*> turns(const std::vector<Arm>& arms, int rounds) {
  std::vector<const Arm*> order;
  for (int round = 0; round < rounds; ++round) {
    for (const Arm& arm : arms) order.push_back(&arm);
    for (auto arm = arms.rbegin(); arm != arms.rend(); ++arm) order.push_back(&*arm);
  }
  return order;
}

void measure_exchanges(const std::vector<Arm>& arms, int rounds) {
  std::map<std::string, Samples> fresh, kept;
  for (const Arm* arm : turns(arms, rounds)) {
    for (int i = 0; i < 200; ++i) fresh[arm->name].add(ping_new(*arm));
    const UniqueFd fd = connect_to(*arm);
    for (int i = 0; i < 500; ++i) kept[arm->name].add(ping_again(fd.get()));
  }
  print("new connection + GET /_ping, microseconds", arms, fresh, 1e6, false);
  print("GET /_ping on a connection that is kept, microseconds", arms, kept, 1e6, false);
}

/// `streams` transfers at once, of `bytes` in all; seconds.
double bulk(const Arm& arm, std::uint64_t bytes, int streams, bool up) {
  const auto begin = Clock::now();
  std::vector<std::thread> threads;
  for (int i = 0; i < streams; ++i)
    threads.emplace_back([&] {
      try {
        if (up)
          bulk_up(arm, bytes / static_cast<unsigned>(streams));
        else
          bulk_down(arm, bytes / static_cast<unsigned>(streams));
      } catch (const Error& error) {
        std::cerr << arm.name << ": " << one_line(error) << "\n";
      }
    });
  for (std::thread& thread : threads) thread.join();
  return seconds(begin);
}

void measure_bulk(const std::vector<Arm>& arms, int rounds, std::uint64_t bytes, int streams) {
  const double mib = static_cast<double>(bytes) / (1 << 20);
  for (const bool up : {false, true}) {
    std::map<std::string, Samples> times;
    std::map<std::string, double> cpu;
    for (const Arm* arm : turns(arms, rounds)) {
      const double before = arm->pid > 0 ? cpu_seconds(arm->pid) : 0;
      times[arm->name].add(bulk(*arm, bytes, streams, up));
      if (arm->pid > 0) cpu[arm->name] += cpu_seconds(arm->pid) - before;
    }
    const std::string title = std::to_string(bytes >> 20) + (up ? " MiB to" : " MiB from") + " the engine, " +
                              std::to_string(streams) + (streams == 1 ? " stream" : " streams") +
                              ", MiB/s (ratio of times)";
    print(title, arms, times, mib, true);
    std::printf("  CPU seconds of the forwarding process per GiB:");
    for (const Arm& arm : arms)
      if (arm.pid > 0) std::printf("  %s %.2f", arm.name.c_str(), cpu[arm.name] / (2.0 * rounds * mib / 1024.0));
    std::printf("\n");
  }
}

/// What a request on another connection waits while an image is loaded.
void measure_beside_bulk(const std::vector<Arm>& arms, int rounds, std::uint64_t bytes) {
  std::map<std::string, Samples> kept;
  for (const Arm* arm : turns(arms, rounds)) {
    const UniqueFd fd = connect_to(*arm);
    std::thread load([&] { bulk(*arm, bytes, 1, true); });
    ::usleep(50'000);  // the load is under way
    const auto begin = Clock::now();
    for (int i = 0; i < 200 || seconds(begin) < 0.2; ++i) kept[arm->name].add(ping_again(fd.get()));
    load.join();
  }
  print("GET /_ping on a kept connection while bytes go to the engine on another, microseconds", arms, kept, 1e6,
        false);
}

std::size_t descriptors(pid_t pid) {
  std::error_code gone;
  const fs::directory_iterator all("/proc/" + std::to_string(pid) + "/fd", gone);
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

void measure_crowds(const std::vector<Arm>& arms) {
  constexpr int crowd = 1000, many = 10'000;
  std::printf(
      "\n%d connections opened at once, each asks; then %d one after the other\n%-12s %9s %9s %9s %9s %9s %12s\n",
      crowd, many, "", "answered", "seconds", "answered", "seconds", "files", "growth, KiB");
  for (const Arm& arm : arms) {
    std::vector<UniqueFd> open;
    auto begin = Clock::now();
    int answered = 0;
    auto count = [&answered](auto exchange) {
      try {
        exchange();
        ++answered;
      } catch (const Error&) {  // shown by its not being counted
      }
    };
    for (int i = 0; i < crowd; ++i) open.push_back(connect_to(arm));
    for (const UniqueFd& fd : open) send_all(fd.get(), ping_request.data(), ping_request.size());
    for (const UniqueFd& fd : open) count([&] { read_answer(fd.get()); });
    const double at_once = seconds(begin);
    open.clear();
    std::printf("%-12s %9d %9.2f", arm.name.c_str(), answered, at_once);
    // Settled after the crowd: only what grows from here on is a leak.
    for (int i = 0; i < 500; ++i) ping_new(arm);
    const std::size_t files = arm.pid > 0 ? descriptors(arm.pid) : 0;
    const long memory = arm.pid > 0 ? memory_kib(arm.pid, "Private_Dirty:") : 0;
    answered = 0;
    begin = Clock::now();
    for (int i = 0; i < many; ++i) count([&] { ping_new(arm); });
    std::printf(" %9d %9.2f", answered, seconds(begin));
    ::usleep(200'000);  // the last connections are closed on the far side, too
    if (arm.pid > 0)
      std::printf(" %+9ld %12ld", static_cast<long>(descriptors(arm.pid)) - static_cast<long>(files),
                  memory_kib(arm.pid, "Private_Dirty:") - memory);
    std::printf("\n");
    std::fflush(stdout);
  }
}

void measure_idle_memory(const std::vector<Arm>& arms) {
  constexpr int idle = 400;
  std::printf("\nmemory of the forwarding process, KiB: PSS before, and per idle connection of %d\n", idle);
  for (const Arm& arm : arms) {
    if (arm.pid <= 0) continue;
    const long before = memory_kib(arm.pid, "Pss:");
    std::vector<UniqueFd> open;
    for (int i = 0; i < idle; ++i) {
      open.push_back(connect_to(arm));
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
  std::uint64_t bytes = std::uint64_t{1} << 30;
  int rounds = 1;
  Engine engine;
  bool real = false;
  std::vector<Arm> arms;
  for (int i = 1; i < argc; ++i) {
    const std::string_view flag = argv[i];
    if (i + 1 == argc) return usage();
    const std::string value = argv[++i];
    if (flag == "--bulk") {
      bytes = std::strtoull(value.c_str(), nullptr, 10) << 20;
    } else if (flag == "--rounds") {
      rounds = std::max(1, std::atoi(value.c_str()));
    } else if (flag == "--engine") {
      engine.socket = value;
      real = true;
    } else if (const auto equals = value.find('='); flag == "--arm" && equals != std::string::npos) {
      arms.push_back(Arm{value.substr(0, equals), value.substr(equals + 1), 0, -1});
    } else {
      return usage();
    }
  }
  raise_descriptor_limit();
  if (!arms.empty()) {
    measure_exchanges(arms, rounds);
    return 0;
  }

  const TemporaryDirectory directory("/tmp", "cl-bench-");
  constexpr int range = 8193;
  std::list<Process> processes;
  if (!real) {
    engine.socket = directory.path() / "engine.sock";
    engine.port = free_port();
    engine.published = free_port(range + 2);
    engine.first_of_range = static_cast<std::uint16_t>(engine.published + 2);
    engine.range = range - 1;
    processes.push_back(fork_engine(engine));
  }
  auto add = [&](std::vector<Arm>& to, std::string name, const fs::path& socket, int port, Process process) {
    to.push_back(Arm{std::move(name), socket, static_cast<std::uint16_t>(port), process.pid});
    processes.push_back(std::move(process));
  };
  auto at = [&](const char* name) { return directory.path() / name; };
  arms.push_back(Arm{"direct", engine.socket, 0, -1});
  add(arms, "ours", at("ours.sock"), 0, fork_relay(at("ours.sock"), engine.socket));
  add(arms, "ours+agent", at("agent.sock"), 0, fork_relay_over_agent(at("agent.sock"), engine));
  std::optional<Sshd> sshd;
  std::vector<Arm> ports;
  try {
    sshd = start_sshd(directory.path());
    auto forward = [&](const char* socket) { return at(socket).string() + ":" + engine.socket.string(); };
    add(arms, "ssh -L", at("a.sock"), 0, start_ssh_l(*sshd, directory.path(), forward("a.sock"), ""));
    add(arms, "ssh -L gcm", at("b.sock"), 0,
        start_ssh_l(*sshd, directory.path(), forward("b.sock"), "aes128-gcm@openssh.com"));
    add(arms, "ours+ssh", at("over.sock"), 0, fork_relay_over_ssh(at("over.sock"), engine, *sshd));
    if (!real) {
      ports.push_back(Arm{"direct", {}, engine.port, -1});
      const int listen = engine.published + 1;
      const std::string to = "127.0.0.1:" + std::to_string(listen) + ":127.0.0.1:" + std::to_string(engine.port);
      add(ports, "ssh -L", {}, listen, start_ssh_l(*sshd, directory.path(), to, ""));
      double milliseconds = 0;
      add(ports, "ours+ssh", {}, engine.published, fork_ports_over_ssh(engine, *sshd, milliseconds));
      std::printf("%d published ports were open after %.0f ms\n", range, milliseconds);
      Engine other;  // of its own, since the ports of this one are taken
      other.socket = directory.path() / "other.sock";
      other.port = free_port();
      other.published = free_port();
      processes.push_back(fork_engine(other));
      add(ports, "ours+agent", {}, other.published, fork_ports_over_agent(other, milliseconds));
    }
  } catch (const Error& error) {
    std::cerr << "without the SSH arms: " << one_line(error) << "\n";
  }

  std::printf("\n==== the engine's socket\n");
  measure_exchanges(arms, rounds);
  if (!real && bytes > 0) {
    measure_bulk(arms, rounds, bytes, 1);
    measure_bulk(arms, rounds, bytes, 4);
    measure_beside_bulk(arms, rounds, bytes);
  }
  measure_idle_memory(arms);  // before the crowds, whose memory it would use again
  measure_crowds(arms);
  if (!ports.empty()) {
    std::printf("\n==== a published TCP port\n");
    measure_exchanges(ports, rounds);
    if (bytes > 0) measure_bulk(ports, rounds, bytes, 4);
  }
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
