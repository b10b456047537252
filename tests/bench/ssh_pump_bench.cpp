// What a channel of our SSH pump costs beside OpenSSH's own client, with the same kind of server, on this machine, in
// this run. Each comparison runs A B B A; the first, cold sample is printed apart from the median.
//
//   bench_ssh_pump [MiB per bulk transfer, default 512]
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/file.hpp"
#include "tests/integration/ssh_lab.hpp"

namespace cl::test {
namespace {

using Clock = std::chrono::steady_clock;
using Local = asio::local::stream_protocol;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

struct Samples {
  std::vector<double> milliseconds;
  void add(double seconds) { milliseconds.push_back(seconds * 1e3); }
  double at(double part) const {
    std::vector<double> sorted = milliseconds;
    std::sort(sorted.begin(), sorted.end());
    return sorted[std::min(sorted.size() - 1, static_cast<std::size_t>(part * static_cast<double>(sorted.size())))];
  }
  double first() const { return milliseconds.front(); }
};

/// A process of its own that echoes on `path`, so that it does not share our thread.
pid_t start_echo_process(const std::string& path) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  asio::io_context io(1);
  Local::acceptor acceptor(io, Local::endpoint(path));
  for (;;) {
    auto socket = std::make_shared<Local::socket>(acceptor.accept());
    // One connection at a time is all that this needs; idle ones are kept open by their own processes.
    if (::fork() != 0) continue;
    std::vector<char> space(64 * 1024);
    for (;;) {
      error_code ec;
      const std::size_t got = socket->read_some(asio::buffer(space), ec);
      if (ec) std::_Exit(0);
      asio::write(*socket, asio::buffer(space, got), ec);
      if (ec) std::_Exit(0);
    }
  }
}

/// Accepts and holds connections.
pid_t start_idle_process(const std::string& path) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  asio::io_context io(1);
  Local::acceptor acceptor(io, Local::endpoint(path));
  std::vector<Local::socket> open;
  for (;;) open.push_back(acceptor.accept());
}

constexpr std::string_view question = "GET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n";

asio::awaitable<double> exchange_by_pump(Guest& guest, std::string path) {
  const auto start = Clock::now();
  auto stream = co_await guest.open_unix(std::move(path));
  co_await stream->write(question);
  char space[256];
  for (std::size_t got = 0; got < question.size();) got += co_await stream->read_some(space);
  const double time = seconds_since(start);
  stream->close();
  co_return time;
}

/// Over a unix socket that `ssh -L` listens on, or that the echo process itself does.
asio::awaitable<double> exchange_by_socket(std::string path) {
  const auto start = Clock::now();
  Local::socket socket(co_await asio::this_coro::executor);
  co_await socket.async_connect(Local::endpoint(path), asio::use_awaitable);
  co_await asio::async_write(socket, asio::buffer(question), asio::use_awaitable);
  char space[256];
  for (std::size_t got = 0; got < question.size();)
    got += co_await socket.async_read_some(asio::buffer(space), asio::use_awaitable);
  co_return seconds_since(start);
}

/// OpenSSH's client over the same kind of connection: an `sshd -i` behind a proxy command.
std::vector<std::string> ssh_arguments(const SshLab& lab) {
  const std::string server = find_program("sshd").value_or("/usr/sbin/sshd").string();
  return {"ssh",
          "-F",
          "none",
          "-o",
          "ProxyCommand=" + server + " -i -f " + (lab.directory() / "sshd_config").string(),
          "-o",
          "IdentityFile=" + lab.keys().private_key.string(),
          "-o",
          "IdentitiesOnly=yes",
          "-o",
          "StrictHostKeyChecking=no",
          "-o",
          "UserKnownHostsFile=/dev/null",
          "-o",
          "LogLevel=ERROR",
          "-o",
          "Ciphers=aes128-ctr",
          "-o",
          "MACs=hmac-sha2-256",
          lab.login().user + "@guest"};
}

asio::awaitable<double> bulk_from_guest_by_pump(Guest& guest, std::size_t bytes) {
  ExecRequest request;
  request.command = "head -c " + std::to_string(bytes) + " /dev/zero";
  const auto start = Clock::now();
  auto process = co_await guest.exec(std::move(request));
  std::vector<char> space(64 * 1024);
  std::size_t all = 0;
  for (std::size_t got = 1; got != 0; all += got) got = co_await process->io().read_some(space);
  if (all != bytes) throw Error(Errc::internal, "bytes are missing");
  co_return seconds_since(start);
}

asio::awaitable<double> bulk_to_guest_by_pump(Guest& guest, std::size_t bytes) {
  ExecRequest request;
  request.command = "cat >/dev/null";
  const auto start = Clock::now();
  auto process = co_await guest.exec(std::move(request));
  const std::vector<char> block(64 * 1024);
  for (std::size_t sent = 0; sent < bytes; sent += block.size()) co_await process->io().write(block);
  co_await process->io().shutdown_write();
  co_await process->wait_exit();
  co_return seconds_since(start);
}

double shell(const std::string& command) {
  const auto start = Clock::now();
  if (std::system(command.c_str()) != 0) std::fprintf(stderr, "failed: %s\n", command.c_str());
  return seconds_since(start);
}

std::string quoted(const std::vector<std::string>& words) {
  std::string line;
  for (const std::string& word : words) line += "'" + word + "' ";
  return line;
}

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  auto value = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return value(usage.ru_utime) + value(usage.ru_stime);
}

asio::awaitable<void> hold_open(Guest& guest, std::string path, int count, TaskGroup& tasks,
                                std::vector<std::unique_ptr<ByteStream>>& streams) {
  auto wait = [](ByteStream& stream) -> asio::awaitable<void> {
    char c = 0;
    co_await stream.read_some(std::span(&c, 1));
  };
  for (int i = 0; i < count; ++i) {
    streams.push_back(co_await guest.open_unix(path));
    tasks.spawn("idle", wait(*streams.back()));
  }
}

void print(const char* name, const Samples& samples) {
  std::printf("%-44s p50 %7.3f ms  p99 %7.3f ms  first %7.3f ms\n", name, samples.at(0.5), samples.at(0.99),
              samples.first());
}

asio::awaitable<void> bench(std::size_t bytes) {
  auto executor = co_await asio::this_coro::executor;
  SshLab lab(executor);
  co_await lab.set_up("MaxStartups 100");
  const std::string echo = (lab.directory() / "echo").string(), forwarded = (lab.directory() / "forwarded").string();
  const pid_t echo_process = start_echo_process(echo);
  while (!fs::exists(echo)) co_await sleep_for(std::chrono::milliseconds(5));

  auto started = Clock::now();
  auto guest = co_await lab.connect();
  std::printf("connect and log in                           %7.1f ms\n", seconds_since(started) * 1e3);
  Command forward;
  forward.argv = ssh_arguments(lab);
  forward.argv.insert(forward.argv.end() - 1, {"-N", "-L", forwarded + ":" + echo});
  Child ssh = Child::start(executor, forward);
  while (!fs::exists(forwarded)) co_await sleep_for(std::chrono::milliseconds(5));

  const std::string idle = (lab.directory() / "idle").string();
  const pid_t idle_process = start_idle_process(idle);
  Samples pump, peer, direct;
  for (int round = 0; round < 4; ++round)
    for (int i = 0; i < 500; ++i)
      if (round == 0 || round == 3)
        pump.add(co_await exchange_by_pump(*guest, echo));
      else
        peer.add(co_await exchange_by_socket(forwarded));
  for (int i = 0; i < 500; ++i) direct.add(co_await exchange_by_socket(echo));
  print("new channel + exchange, pump", pump);
  print("new connection + exchange, ssh -L", peer);
  print("new connection + exchange, no ssh", direct);
  std::printf("ratio of medians pump / ssh -L               %7.2f\n", pump.at(0.5) / peer.at(0.5));

  // CPU of ours for one exchange on an open channel, alone and beside idle channels that all have a waiting reader.
  for (const int count : {0, 100, 1000}) {
    auto crowd = co_await lab.connect();
    TaskGroup tasks(executor);
    std::vector<std::unique_ptr<ByteStream>> streams;
    co_await hold_open(*crowd, idle, count, tasks, streams);
    Samples samples;
    double before = cpu_seconds();
    for (int i = 0; i < 500; ++i) samples.add(co_await exchange_by_pump(*crowd, echo));
    const double each = (cpu_seconds() - before) / 500 * 1e6;
    before = cpu_seconds();
    co_await sleep_for(std::chrono::milliseconds(2000));
    const double asleep = (cpu_seconds() - before) * 1e3;
    std::printf("beside %4d idle channels: exchange p50 %6.3f ms, our CPU %4.0f us each; asleep for 2 s: CPU %.2f ms\n",
                count, samples.at(0.5), each, asleep);
    co_await tasks.stop();
  }

  const double mib = static_cast<double>(bytes) / (1 << 20);
  auto arguments = ssh_arguments(lab);
  const std::string ssh_line = quoted(arguments);
  std::vector<double> ours_in, ours_out, theirs_in, theirs_out;
  double cpu_in = 0, cpu_out = 0;
  for (int round = 0; round < 4; ++round) {
    if (round == 0 || round == 3) {
      double cpu = cpu_seconds();
      ours_in.push_back(mib / co_await bulk_from_guest_by_pump(*guest, bytes));
      cpu_in += cpu_seconds() - cpu;
      cpu = cpu_seconds();
      ours_out.push_back(mib / co_await bulk_to_guest_by_pump(*guest, bytes));
      cpu_out += cpu_seconds() - cpu;
    } else {
      const std::string size = std::to_string(bytes);
      theirs_in.push_back(mib / shell(ssh_line + "head -c " + size + " /dev/zero >/dev/null"));
      theirs_out.push_back(mib / shell("head -c " + size + " /dev/zero | " + ssh_line + "'cat >/dev/null'"));
    }
  }
  auto best = [](const std::vector<double>& values) { return *std::max_element(values.begin(), values.end()); };
  std::printf("bulk guest to host   pump %5.0f %5.0f MiB/s   ssh %5.0f %5.0f MiB/s   ratio %.2f   our CPU %.2f s/GiB\n",
              ours_in[0], ours_in[1], theirs_in[0], theirs_in[1], best(ours_in) / best(theirs_in),
              cpu_in / (2 * mib / 1024));
  std::printf("bulk host to guest   pump %5.0f %5.0f MiB/s   ssh %5.0f %5.0f MiB/s   ratio %.2f   our CPU %.2f s/GiB\n",
              ours_out[0], ours_out[1], theirs_out[0], theirs_out[1], best(ours_out) / best(theirs_out),
              cpu_out / (2 * mib / 1024));

  ssh.kill(SIGTERM);
  co_await ssh.wait();
  ::kill(echo_process, SIGTERM);
  ::waitpid(echo_process, nullptr, 0);
  ::kill(idle_process, SIGTERM);
  ::waitpid(idle_process, nullptr, 0);
  guest.reset();
  co_await lab.stop();
}

}  // namespace
}  // namespace cl::test

namespace cl::test {
int (*session_process)(const char* version) = nullptr;  // ssh_lab.cpp sets it
}  // namespace cl::test

int main(int argc, char** argv) {
  if (argc == 3 && std::string_view(argv[1]) == "ssh-session") return cl::test::session_process(argv[2]);
  const std::size_t mib = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 512;
  boost::asio::io_context io(1);
  int code = 0;
  boost::asio::co_spawn(io, cl::test::bench(mib << 20), [&](std::exception_ptr failure) {
    try {
      if (failure) std::rethrow_exception(failure);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s\n", error.what());
      code = 1;
    }
    io.stop();
  });
  io.run();
  return code;
}
