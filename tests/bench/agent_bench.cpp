/// What the guest's half of the data path costs: the agent against the Perl programs that it replaces, each as a child
/// of this program over socket pairs, driven by the same plain loop.
///
///   agent_bench --agent PROGRAM [--perl MUX.pl UDP.pl] [--rounds N] [--mib N]
///
/// Bulk from and to a unix socket by one stream and by four, new connections one after the other, and datagrams back
/// and forth. Arms take turns A B B A. Of each: the median rate, and the child's CPU seconds for each GiB, connection
/// or datagram; at the end its memory. It prints; it asserts nothing.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "provision/channel/protocol.hpp"

namespace {

using Clock = std::chrono::steady_clock;
using cl::agent::Kind;

double seconds(Clock::time_point since) { return std::chrono::duration<double>(Clock::now() - since).count(); }

[[noreturn]] void die(const std::string& what) {
  std::perror(what.c_str());
  std::exit(1);
}

// ---- the engine: a unix socket that gives, takes or answers, and a UDP socket that echoes ---------------------------

/// The first byte of a connection says what: 'g' give for ever, 't' take for ever, anything else is sent back.
void serve_connection(int fd) {
  std::vector<char> space(256 * 1024, 'x');
  char what = 0;
  if (::recv(fd, &what, 1, 0) == 1) {
    if (what == 'g')
      while (::send(fd, space.data(), space.size(), MSG_NOSIGNAL) > 0) {
      }
    else if (what == 't')
      while (::recv(fd, space.data(), space.size(), 0) > 0) {
      }
    else
      (void)!::send(fd, &what, 1, MSG_NOSIGNAL);
  }
  ::close(fd);
}

void serve_engine(int listener) {
  for (;;) {
    const int fd = ::accept(listener, nullptr, nullptr);
    if (fd >= 0) std::thread(serve_connection, fd).detach();
  }
}

void serve_udp(int fd) {
  char datagram[65536];
  sockaddr_in peer{};
  for (;;) {
    socklen_t size = sizeof peer;
    const ssize_t got = ::recvfrom(fd, datagram, sizeof datagram, 0, reinterpret_cast<sockaddr*>(&peer), &size);
    if (got >= 0)
      (void)!::sendto(fd, datagram, static_cast<std::size_t>(got), 0, reinterpret_cast<sockaddr*>(&peer), size);
  }
}

// ---- a guest's half
// --------------------------------------------------------------------------------------------------

class Half {
 public:
  Half(const std::string& what, const std::vector<std::string>& argv, bool as_ports) : name(what) {
    int in[2], out[2], stop[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM, 0, in) != 0 || ::socketpair(AF_UNIX, SOCK_STREAM, 0, out) != 0 ||
        ::pipe(stop) != 0)
      die("socketpair");
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      std::vector<std::string> words = argv;
      if (as_ports) {
        ::dup2(stop[0], 0);
        words.push_back(std::to_string(in[1]));
        words.push_back(std::to_string(out[1]));
      } else {
        ::dup2(in[1], 0);
        ::dup2(out[1], 1);
      }
      for (const int fd : {in[0], out[0], stop[1]}) ::close(fd);
      std::vector<char*> pointers;
      for (std::string& word : words) pointers.push_back(word.data());
      pointers.push_back(nullptr);
      ::execvp(pointers[0], pointers.data());
      die(pointers[0]);
    }
    for (const int fd : {in[1], out[1], stop[0]}) ::close(fd);
    to_ = in[0];
    from_ = out[0];
  }
  virtual ~Half() {
    ::close(to_);
    ::close(from_);
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

  struct Seen {
    std::uint32_t stream = 0;
    char kind = 0;  // o accepted, d data, c credit, other
    std::string_view payload;
  };
  virtual void open(std::uint32_t stream, const std::string& what) = 0;
  virtual void data(std::uint32_t stream, std::string_view bytes) = 0;
  virtual void credit(std::uint32_t stream, std::uint32_t more) = 0;
  virtual void reset(std::uint32_t stream) = 0;
  virtual bool take(std::string_view& bytes, Seen& seen) = 0;
  virtual std::size_t overhead() const = 0;
  std::uint32_t next() { return id_ += 2; }

  /// Sends what is queued, and calls `each` for what comes, until that returns false.
  template <class Each>
  void run(const Each& each) {
    for (;;) {
      pollfd ends[] = {{from_, POLLIN, 0}, {to_, POLLOUT, 0}};
      ::poll(ends, out_.empty() ? 1 : 2, -1);
      if (!out_.empty()) {
        const ssize_t put = ::send(to_, out_.data(), out_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (put > 0) out_.erase(0, static_cast<std::size_t>(put));
        if (put < 0 && errno != EAGAIN) die(name);
      }
      if ((ends[0].revents & (POLLIN | POLLHUP)) == 0) continue;
      const std::size_t had = in_.size();
      in_.resize(had + 256 * 1024);
      const ssize_t got = ::recv(from_, in_.data() + had, 256 * 1024, MSG_DONTWAIT);
      in_.resize(had + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
      if (got == 0) die(name + " ended");
      std::string_view rest = in_;
      bool more = true;
      for (Seen seen; more && take(rest, seen);) more = each(seen);
      in_.erase(0, in_.size() - rest.size());
      if (!more) return;
    }
  }

  double cpu() const {
    std::ifstream stat("/proc/" + std::to_string(pid_) + "/stat");
    std::string text((std::istreambuf_iterator<char>(stat)), {});
    std::istringstream words(text.substr(text.rfind(')') + 2));
    std::string word;
    double ticks = 0;
    for (int i = 0; words >> word && i < 13; ++i)
      if (i >= 11) ticks += std::stod(word);
    return ticks / static_cast<double>(::sysconf(_SC_CLK_TCK));
  }
  long memory() const {
    std::ifstream status("/proc/" + std::to_string(pid_) + "/status");
    for (std::string line; std::getline(status, line);)
      if (line.starts_with("VmRSS:")) return std::strtol(line.c_str() + 6, nullptr, 10);
    return 0;
  }

  const std::string name;
  std::string out_;

 protected:
  std::uint32_t id_ = 1;
  std::string in_;

 private:
  int to_ = -1, from_ = -1;
  pid_t pid_ = 0;
};

class AgentHalf : public Half {
 public:
  explicit AgentHalf(const std::string& program) : Half("agent", {program, "--stdio"}, false) {
    cl::agent::Hello hello;
    hello.nonce = std::string(32, 'a');
    hello.build = "-";
    cl::agent::append_hello(out_, hello);
    run([](const Seen&) { return false; });
  }
  void open(std::uint32_t stream, const std::string& what) override {
    cl::agent::append_frame(out_, Kind::open, stream, what);
  }
  void data(std::uint32_t stream, std::string_view bytes) override {
    cl::agent::append_frame(out_, Kind::data, stream, bytes);
  }
  void credit(std::uint32_t stream, std::uint32_t more) override {
    cl::agent::append_frame(out_, Kind::credit, stream, cl::agent::credit_payload(more));
  }
  void reset(std::uint32_t stream) override { cl::agent::append_frame(out_, Kind::reset, stream); }
  bool take(std::string_view& bytes, Seen& seen) override {
    cl::agent::Frame frame;
    if (decoder_.next(bytes, frame) != cl::agent::FrameDecoder::Result::frame) return false;
    seen = {frame.stream, frame.kind == Kind::accepted ? 'o' : static_cast<char>(frame.kind), frame.payload};
    return true;
  }
  std::size_t overhead() const override { return cl::agent::overhead; }

 private:
  cl::agent::FrameDecoder decoder_;
};

void put_number(std::string& to, std::uint32_t number) {
  for (const int shift : {24, 16, 8, 0}) to += static_cast<char>(number >> shift & 0xff);
}
std::uint32_t number_at(std::string_view from, std::size_t at, int bytes = 4) {
  std::uint32_t number = 0;
  for (int i = 0; i < bytes; ++i) number = number << 8 | static_cast<unsigned char>(from[at++]);
  return number;
}
std::string text_of(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

class PerlHalf : public Half {
 public:
  explicit PerlHalf(const std::string& script)
      : Half("perl", {"perl", "-e", text_of(script), "0123456789abcdef"}, true) {
    out_ = "0123456789abcdef";
    bool greeted = false;
    run([&](const Seen&) { return !(greeted = true); });
  }
  void open(std::uint32_t stream, const std::string& what) override { frame(stream, 'o', what); }
  void data(std::uint32_t stream, std::string_view bytes) override { frame(stream, 'd', bytes); }
  void credit(std::uint32_t stream, std::uint32_t more) override {
    std::string number;
    put_number(number, more);
    frame(stream, 'c', number);
  }
  void reset(std::uint32_t stream) override { frame(stream, 'x', ""); }
  bool take(std::string_view& bytes, Seen& seen) override {
    if (!up_) {
      if (bytes.size() < 16) return false;
      bytes.remove_prefix(16);
      seen = {};
      return up_ = true;
    }
    if (bytes.size() < 8 || bytes.size() < 8 + number_at(bytes, 5, 3)) return false;
    const std::size_t size = number_at(bytes, 5, 3);
    seen = {number_at(bytes, 0), bytes[4] == 'a' ? 'o' : bytes[4], bytes.substr(8, size)};
    bytes.remove_prefix(8 + size);
    return true;
  }
  std::size_t overhead() const override { return 0; }  // credit is for payload alone

 private:
  void frame(std::uint32_t stream, char kind, std::string_view payload) {
    put_number(out_, stream);
    put_number(out_, static_cast<std::uint32_t>(kind) << 24 | static_cast<std::uint32_t>(payload.size()));
    out_ += payload;
  }
  bool up_ = false;
};

class PerlUdpHalf : public Half {
 public:
  explicit PerlUdpHalf(const std::string& script) : Half("perl udp", {"perl", "-e", text_of(script)}, false) {}
  void open(std::uint32_t stream, const std::string& what) override { frame(stream, 'o', what.substr(4)); }
  void data(std::uint32_t stream, std::string_view bytes) override { frame(stream, 'd', bytes); }
  void credit(std::uint32_t, std::uint32_t) override {}
  void reset(std::uint32_t stream) override { frame(stream, 'c', ""); }
  bool take(std::string_view& bytes, Seen& seen) override {
    if (bytes.size() < 4 || bytes.size() < 4 + number_at(bytes, 0)) return false;
    const std::size_t size = number_at(bytes, 0);
    seen = {number_at(bytes, 5), bytes[4], bytes.substr(9, size - 5)};
    bytes.remove_prefix(4 + size);
    return true;
  }
  std::size_t overhead() const override { return 0; }

 private:
  void frame(std::uint32_t stream, char kind, std::string_view payload) {
    put_number(out_, static_cast<std::uint32_t>(payload.size() + 5));
    out_ += kind;
    put_number(out_, stream);
    out_ += payload;
  }
};

// ---- what is measured
// -------------------------------------------------------------------------------------------------

struct Sample {
  double rate = 0, cpu = 0, worst = 0;
};
constexpr std::uint32_t window = 256 * 1024;

Sample down(Half& half, const std::string& engine, int streams, std::uint64_t bytes) {
  std::map<std::uint32_t, std::uint32_t> owed;
  for (int i = 0; i < streams; ++i) {
    const std::uint32_t id = half.next();
    half.open(id, "unix " + engine);
    half.data(id, "g");
    owed[id] = 0;
  }
  std::uint64_t seen_bytes = 0;
  const auto begun = Clock::now();
  const double cpu = half.cpu();
  half.run([&](const Half::Seen& seen) {
    if (seen.kind != 'd') return true;
    const auto stream = owed.find(seen.stream);
    if (stream == owed.end()) return true;
    seen_bytes += seen.payload.size();
    stream->second += static_cast<std::uint32_t>(seen.payload.size() + half.overhead());
    if (stream->second >= window / 4) half.credit(seen.stream, std::exchange(stream->second, 0));
    return seen_bytes < bytes;
  });
  const double gib = static_cast<double>(seen_bytes) / (1 << 30);
  const Sample sample{gib * 1024 / seconds(begun), (half.cpu() - cpu) / gib, 0};
  for (const auto& [id, count] : owed) half.reset(id);
  return sample;
}

Sample up(Half& half, const std::string& engine, int streams, std::uint64_t bytes) {
  static const std::string piece(32 * 1024 - 64, 'y');
  std::map<std::uint32_t, std::size_t> credit;
  for (int i = 0; i < streams; ++i) {
    const std::uint32_t id = half.next();
    half.open(id, "unix " + engine);
    half.data(id, "t");
    credit[id] = window - 1 - half.overhead();
  }
  std::uint64_t sent = 0;
  auto send_all = [&] {
    for (bool any = true; any;) {
      any = false;
      for (auto& [id, left] : credit) {
        if (left < piece.size() + half.overhead()) continue;
        half.data(id, piece);
        left -= piece.size() + half.overhead();
        sent += piece.size();
        any = true;
      }
    }
  };
  const auto begun = Clock::now();
  const double cpu = half.cpu();
  send_all();
  half.run([&](const Half::Seen& seen) {
    if (seen.kind != 'c' || credit.count(seen.stream) == 0) return true;
    credit[seen.stream] += number_at(seen.payload, 0);
    send_all();
    return sent < bytes;
  });
  const double gib = static_cast<double>(sent) / (1 << 30);
  const Sample sample{gib * 1024 / seconds(begun), (half.cpu() - cpu) / gib, 0};
  for (const auto& [id, count] : credit) half.reset(id);
  return sample;
}

Sample connections(Half& half, const std::string& engine, int count) {
  std::vector<double> times;
  const auto begun = Clock::now();
  const double cpu = half.cpu();
  for (int i = 0; i < count; ++i) {
    const auto one = Clock::now();
    const std::uint32_t id = half.next();
    half.open(id, "unix " + engine);
    half.data(id, "?");
    half.run([&](const Half::Seen& seen) { return seen.stream != id || seen.kind != 'd'; });
    times.push_back(seconds(one));
    half.reset(id);
  }
  std::sort(times.begin(), times.end());
  return {count / seconds(begun), (half.cpu() - cpu) / count, times[times.size() * 99 / 100] * 1e6};
}

/// Flows that each keep some datagrams of 200 bytes on their way.
Sample datagrams(Half& half, int port, int flows, int count) {
  const std::string datagram(200, 'u');
  std::map<std::uint32_t, std::uint32_t> owed;
  for (int i = 0; i < flows; ++i) {
    const std::uint32_t id = half.next();
    half.open(id, "udp 127.0.0.1 " + std::to_string(port));
    for (int k = 0; k < 4; ++k) half.data(id, datagram);
    owed[id] = 0;
  }
  int seen_count = 0;
  const auto begun = Clock::now();
  const double cpu = half.cpu();
  half.run([&](const Half::Seen& seen) {
    if (seen.kind != 'd' || owed.count(seen.stream) == 0) return true;
    auto& debt = owed[seen.stream];
    debt += static_cast<std::uint32_t>(seen.payload.size() + half.overhead());
    if (debt >= window / 4) half.credit(seen.stream, std::exchange(debt, 0));
    half.data(seen.stream, datagram);
    return ++seen_count < count;
  });
  const Sample sample{count / seconds(begun), (half.cpu() - cpu) / count, 0};
  for (const auto& [id, debt] : owed) half.reset(id);
  return sample;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

int main(int count, char** words) {
  std::string agent, mux, udp_script;
  int rounds = 4, mib = 512;
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    if (word == "--agent" && i + 1 < count) agent = words[++i];
    if (word == "--perl" && i + 2 < count) {
      mux = words[++i];
      udp_script = words[++i];
    }
    if (word == "--rounds" && i + 1 < count) rounds = std::atoi(words[++i]);
    if (word == "--mib" && i + 1 < count) mib = std::atoi(words[++i]);
  }
  if (agent.empty()) return std::fprintf(stderr, "usage: agent_bench --agent PROGRAM [--perl MUX.pl UDP.pl]\n"), 2;
  ::signal(SIGPIPE, SIG_IGN);

  const std::string path = "/tmp/agent_bench." + std::to_string(::getpid());
  const int listener = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un local{};
  local.sun_family = AF_UNIX;
  path.copy(local.sun_path, sizeof local.sun_path - 1);
  if (::bind(listener, reinterpret_cast<sockaddr*>(&local), sizeof local) != 0 || ::listen(listener, 128) != 0)
    die(path);
  const int udp = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_in any{};
  any.sin_family = AF_INET;
  any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof any;
  if (::bind(udp, reinterpret_cast<sockaddr*>(&any), sizeof any) != 0) die("UDP");
  ::getsockname(udp, reinterpret_cast<sockaddr*>(&any), &size);
  const int port = ntohs(any.sin_port);
  std::thread(serve_engine, listener).detach();
  std::thread(serve_udp, udp).detach();

  const std::uint64_t bytes = static_cast<std::uint64_t>(mib) << 20;
  struct Task {
    const char* name;
    const char* unit;
    std::function<Sample(Half&)> run;
  };
  const std::vector<Task> tasks{
      {"bulk to the host, 1 stream", "MiB/s, CPU s/GiB", [&](Half& half) { return down(half, path, 1, bytes); }},
      {"bulk to the host, 4 streams", "MiB/s, CPU s/GiB", [&](Half& half) { return down(half, path, 4, bytes); }},
      {"bulk to the guest, 1 stream", "MiB/s, CPU s/GiB", [&](Half& half) { return up(half, path, 1, bytes); }},
      {"bulk to the guest, 4 streams", "MiB/s, CPU s/GiB", [&](Half& half) { return up(half, path, 4, bytes); }},
      {"new connections", "1/s, CPU s each, p99 us", [&](Half& half) { return connections(half, path, 1000); }},
  };
  std::map<std::string, std::map<std::string, std::vector<Sample>>> all;
  std::map<std::string, long> memory;
  auto measure = [&](const std::string& arm) {
    std::unique_ptr<Half> half;
    if (arm == "agent") half = std::make_unique<AgentHalf>(agent);
    if (arm == "perl") half = std::make_unique<PerlHalf>(mux);
    for (const Task& task : tasks) all[task.name][arm].push_back(task.run(*half));
    memory[arm] = half->memory();
    std::unique_ptr<Half> other;
    if (arm == "perl") other = std::make_unique<PerlUdpHalf>(udp_script);
    Half& flows = arm == "perl" ? *other : *half;
    all["datagrams, 32 flows"][arm].push_back(datagrams(flows, port, 32, 100'000));
    if (other) memory["perl udp"] = other->memory();
  };
  const std::vector<std::string> arms =
      mux.empty() ? std::vector<std::string>{"agent"} : std::vector<std::string>{"perl", "agent", "agent", "perl"};
  for (int i = 0; i < rounds; ++i)
    for (const std::string& arm : arms) measure(arm);
  for (const auto& [task, by_arm] : all)
    for (const auto& [arm, samples] : by_arm) {
      std::vector<double> rates, costs, worst;
      for (const Sample& sample : samples) {
        rates.push_back(sample.rate);
        costs.push_back(sample.cpu);
        worst.push_back(sample.worst);
      }
      std::printf("%-30s %-6s %10.0f /s  CPU %.3g s  p99 %.0f us\n", task.c_str(), arm.c_str(), median(rates),
                  median(costs), median(worst));
    }
  for (const auto& [arm, kib] : memory) std::printf("memory of %s: %ld KiB\n", arm.c_str(), kib);
  ::unlink(path.c_str());
  std::fflush(stdout);
  std::_Exit(0);
}
