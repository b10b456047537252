#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/write.hpp>

#include "provision/channel/guest.hpp"
#include "src/base/child.hpp"
#include "src/base/file.hpp"
#include "tests/fakes/choppy_stream.hpp"
#include "tests/integration/ssh_lab.hpp"
#include "tests/support/run.hpp"

/// The data channel with its real program, run by this host's perl over socket pairs instead of a machine's ports.
namespace cl::test {
namespace {

using mux::MuxGuest;
using StreamPtr = std::unique_ptr<ByteStream>;

struct Pipe {
  UniqueFd read, write;
  Pipe() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) throw io_error("pipe", errno);
    read = UniqueFd(ends[0]);
    write = UniqueFd(ends[1]);
  }
};

/// A program of this host.
class LocalProcess : public GuestProcess, public ByteStream {
 public:
  LocalProcess(const asio::any_io_executor& executor, Child child, Pipe in, Pipe out, Pipe errors)
      : child_(std::move(child)),
        in_(std::move(in.write)),
        out_(executor, out.read.release()),
        errors_(executor, errors.read.release()) {}
  ByteStream& io() override { return *this; }
  asio::awaitable<std::size_t> read_some(std::span<char> space) override { return read(out_, space); }
  asio::awaitable<std::size_t> read_errors(std::span<char> space) override { return read(errors_, space); }
  asio::awaitable<void> write(std::span<const char>) override { throw Error(Errc::internal, "not needed"); }
  asio::awaitable<void> shutdown_write() override { co_return; }
  void close() noexcept override {}
  asio::awaitable<void> resize(TerminalSize) override { co_return; }
  asio::awaitable<int> wait_exit() override {
    const ExitStatus status = co_await child_.wait();
    co_return status.code;
  }

 private:
  static asio::awaitable<std::size_t> read(asio::posix::stream_descriptor& from, std::span<char> space) {
    auto [ec, got] = co_await from.async_read_some(asio::buffer(space.data(), space.size()), no_throw);
    if (ec == asio::error::operation_aborted) throw boost::system::system_error(ec);
    co_return got;
  }
  Child child_;
  UniqueFd in_;
  asio::posix::stream_descriptor out_, errors_;
};

/// Runs commands here, with what the "machine" offers as ports: descriptors, whose numbers are appended.
class LocalGuest : public Guest {
 public:
  explicit LocalGuest(asio::any_io_executor executor) : executor_(std::move(executor)), lost_(executor_) {}
  Dial dial() {
    return [this]() -> asio::awaitable<cl::Transport> {
      SocketPair to = socket_pair(), from = socket_pair();
      ports_ = {std::move(to.theirs), std::move(from.theirs)};
      co_return cl::Transport(std::move(from.ours), std::move(to.ours));
    };
  }
  asio::awaitable<std::unique_ptr<GuestProcess>> exec(ExecRequest request) override {
    Pipe in, out, errors;
    Command command;
    command.argv = {"sh", "-c", request.command};
    if (with_ports) command.argv[2] += " " + std::to_string(ports_[0].get()) + " " + std::to_string(ports_[1].get());
    command.input = in.read.get();
    command.output = out.write.get();
    command.errors = errors.write.get();
    command.keep = {ports_[0].get(), ports_[1].get()};
    Child child = Child::start(executor_, command);
    pid = child.pid();
    ports_ = {};
    co_return std::make_unique<LocalProcess>(executor_, std::move(child), std::move(in), std::move(out),
                                             std::move(errors));
  }
  asio::awaitable<StreamPtr> open_unix(std::string path) override {
    ++by_ssh;
    throw Error(Errc::guest_failed, "SSH was asked for " + path);
    co_return nullptr;
  }
  asio::awaitable<StreamPtr> open_tcp(std::string host, std::uint16_t) override { return open_unix(std::move(host)); }
  asio::awaitable<void> lost() override { return lost_.wait(); }

  bool with_ports = true;
  pid_t pid = 0;
  int by_ssh = 0;

 private:
  asio::any_io_executor executor_;
  Event lost_;
  std::array<UniqueFd, 2> ports_;
};

struct Bed {
  explicit Bed(asio::any_io_executor ex)
      : executor(ex), lab(ex), local(std::make_shared<LocalGuest>(ex)), guest(std::make_shared<MuxGuest>(ex, local)) {}
  asio::awaitable<void> up() {
    if (!used) guest->use(local->dial());
    used = true;
    while (!guest->by_mux()) co_await sleep_for(1ms);
  }
  asio::awaitable<void> end() {
    co_await guest->stop();
    co_await lab.stop();
  }
  asio::any_io_executor executor;
  SshLab lab;
  std::shared_ptr<LocalGuest> local;
  std::shared_ptr<MuxGuest> guest;
  bool used = false;
};

asio::awaitable<std::string> failure_of(asio::awaitable<StreamPtr> opening) {
  try {
    co_await std::move(opening);
  } catch (const Error& error) {
    co_return std::string(to_string(error.code())) + ": " + one_line(error);
  }
  co_return "opened";
}

asio::awaitable<std::string> half_closed() {
  Bed bed(co_await asio::this_coro::executor);
  co_await bed.up();
  auto stream = co_await bed.guest->open_unix(bed.lab.echo_socket());
  co_await stream->write(std::string_view("there and "));
  std::string seen = co_await read_exactly(*stream, 10);
  co_await stream->write(std::string_view("back"));
  co_await stream->shutdown_write();  // the echo ends its direction only after that
  seen += co_await read_to_end(*stream);
  co_await bed.end();
  co_return seen + ", by SSH " + std::to_string(bed.local->by_ssh);
}

TEST(DataChannel, CarriesBothDirectionsToTheirOwnEnds) { EXPECT_EQ(run(half_closed()), "there and back, by SSH 0"); }

asio::awaitable<std::string> refused() {
  Bed bed(co_await asio::this_coro::executor);
  co_await bed.up();
  std::string seen = co_await failure_of(bed.guest->open_unix("/nonexistent/it's a socket"));
  seen += "\n" + co_await failure_of(bed.guest->open_tcp("127.0.0.1", 1));
  seen += "\n" + co_await failure_of(bed.guest->open_unix("/" + std::string(200, 'x')));
  seen += "\n" + co_await failure_of(bed.guest->open_tcp("localhost", 1));  // names are sshd's
  co_await bed.guest->check(2s);
  seen += bed.guest->by_mux() ? "" : "\ngone";
  co_await bed.end();
  co_return seen;
}

TEST(DataChannel, TellsWhyNobodyIsThere) {
  EXPECT_EQ(run(refused()),
            "guest_failed: cannot connect to /nonexistent/it's a socket in the guest: No such file or directory\n"
            "guest_failed: cannot connect to 127.0.0.1 port 1 in the guest: Connection refused\n"
            "guest_failed: cannot connect to /" +
                std::string(200, 'x') +
                " in the guest: the path is too long\n"
                "guest_failed: SSH was asked for localhost");
}

asio::awaitable<std::string> reset_by_a_container(std::string address) {
  auto executor = co_await asio::this_coro::executor;
  Bed bed(executor);
  co_await bed.up();
  asio::ip::tcp::acceptor acceptor(executor, {asio::ip::make_address(address), 0});
  auto stream = co_await bed.guest->open_tcp(address, acceptor.local_endpoint().port());
  auto socket = co_await acceptor.async_accept(asio::use_awaitable);
  socket.set_option(asio::socket_base::linger(true, 0));
  socket.close();
  std::string seen;
  char space[8];
  try {
    const std::size_t got = co_await stream->read_some(space);
    seen = std::to_string(got) + " bytes";
  } catch (const Error& error) {
    seen = one_line(error);
  }
  stream = co_await bed.guest->open_tcp(address, acceptor.local_endpoint().port());
  socket = co_await acceptor.async_accept(asio::use_awaitable);
  stream.reset();
  auto [ec, got] = co_await socket.async_read_some(asio::buffer(space), no_throw);
  seen += " | " + ec.message();
  co_await bed.end();
  co_return seen;
}

TEST(DataChannel, CarriesResetsBothWays) {
  const std::string expected = "the connection in the guest broke: it was reset | Connection reset by peer";
  EXPECT_EQ(run(reset_by_a_container("127.0.0.1")), expected);
  EXPECT_EQ(run(reset_by_a_container("::1")), expected);
}

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

asio::awaitable<std::size_t> bulk(std::size_t count, int streams) {
  auto executor = co_await asio::this_coro::executor;
  Bed bed(executor);
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
  co_return all;
}

TEST(DataChannel, BringsBulkBackUnharmed) {
  constexpr std::size_t count = 24 << 20;
  EXPECT_EQ(run(bulk(count, 1), 60s), count);
  EXPECT_EQ(run(bulk(count / 4, 4), 60s), count);
}

asio::awaitable<std::string> crowd(int size) {
  auto executor = co_await asio::this_coro::executor;
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
  Bed bed(executor);
  co_await bed.up();
  const std::string echo = bed.lab.echo_socket();
  int answered = 0;
  std::vector<StreamPtr> kept;
  auto one = [](Bed& in, std::string path, std::vector<StreamPtr>& streams, int& count) -> asio::awaitable<void> {
    auto stream = co_await in.guest->open_unix(std::move(path));
    co_await stream->write(std::string_view("here"));
    if (co_await read_exactly(*stream, 4) == "here") ++count;
    streams.push_back(std::move(stream));
  };
  TaskGroup tasks(executor);
  for (int i = 0; i < size; ++i) tasks.spawn("one", one(bed, echo, kept, answered));
  while (tasks.size() > 0) co_await sleep_for(5ms);
  const int at_once = answered;
  kept.clear();
  // None is left behind in the guest.
  const std::string descriptors = "/proc/" + std::to_string(bed.local->pid) + "/fd";
  auto count = [&descriptors] {
    return std::distance(std::filesystem::directory_iterator(descriptors), std::filesystem::directory_iterator());
  };
  for (int i = 0; i < 2000 && count() > 20; ++i) co_await sleep_for(1ms);
  const bool few = count() <= 20;
  co_await bed.end();
  co_return std::to_string(at_once) + (few ? "" : ", and descriptors left");
}

TEST(DataChannel, ServesACrowdAtOnceAndForgetsIt) { EXPECT_EQ(run(crowd(1000), 60s), "1000"); }

long resident_kib(pid_t pid) {
  const std::string text = read_file("/proc/" + std::to_string(pid) + "/status");
  return std::strtol(text.c_str() + text.find("VmRSS:") + 6, nullptr, 10);
}

asio::awaitable<std::string> stalled_readers() {
  auto executor = co_await asio::this_coro::executor;
  Bed bed(executor);
  co_await bed.up();
  std::size_t right = 0;
  auto warm = co_await bed.guest->open_unix(bed.lab.echo_socket());
  co_await round_trip(*warm, 4 << 20, right);
  const long before = resident_kib(bed.local->pid);
  // One whose guest does not read, and one whose host does not: each has 64 MiB to send.
  auto deaf = co_await bed.guest->open_unix(bed.lab.deaf_socket());
  auto source = co_await bed.guest->open_unix(bed.lab.source_socket(64 << 20));
  auto send = [](ByteStream& to) -> asio::awaitable<void> {
    const std::string bytes(64 << 20, 'x');
    co_await to.write(bytes);
  };
  TaskGroup tasks(executor);
  tasks.spawn("send", send(*deaf));
  co_await sleep_for(300ms);  // time to take more than it should
  const long grown = resident_kib(bed.local->pid) - before;
  std::string seen = grown <= 2048 ? "bounded" : std::to_string(grown) + " KiB more in the guest";
  right = 0;
  auto other = co_await bed.guest->open_unix(bed.lab.echo_socket());
  co_await round_trip(*other, 1 << 20, right);
  seen += right == 1 << 20 ? ", others go on" : ", others stand";
  co_await tasks.stop();
  co_await bed.end();
  co_return seen;
}

TEST(DataChannel, BoundsWhatAStalledReaderCosts) { EXPECT_EQ(run(stalled_readers(), 30s), "bounded, others go on"); }

asio::awaitable<std::string> killed() {
  Bed bed(co_await asio::this_coro::executor);
  co_await bed.up();
  const std::string echo = bed.lab.echo_socket();
  auto stream = co_await bed.guest->open_unix(echo);
  const pid_t first = bed.local->pid;
  ::kill(first, SIGKILL);
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
  seen += bed.local->pid != first ? " | again" : "";
  auto next = co_await bed.guest->open_unix(echo);
  co_await next->write(std::string_view("here"));
  seen += " " + co_await read_exactly(*next, 4);
  co_await bed.end();
  co_return seen;
}

TEST(DataChannel, IsMadeAnewWhenItsProgramWasKilled) {
  EXPECT_EQ(run(killed(), 20s), "the connection in the guest broke | guest_failed: SSH was asked for /x | again here");
}

asio::awaitable<std::string> stopped_while_lost() {
  auto executor = co_await asio::this_coro::executor;
  std::string seen;
  for (int turns = 0; turns < 12; ++turns) {
    Bed bed(executor);
    co_await bed.up();
    ::kill(bed.local->pid, SIGKILL);
    for (int i = 0; i < turns; ++i) co_await sleep_for(std::chrono::milliseconds(i % 2));
    const auto begun = std::chrono::steady_clock::now();
    co_await bed.end();
    if (std::chrono::steady_clock::now() - begun > 1s) seen += " slow after " + std::to_string(turns);
  }
  co_return seen;
}

TEST(DataChannel, StopsAtOnceWhenItIsJustBeingLost) { EXPECT_EQ(run(stopped_while_lost(), 60s), ""); }

asio::awaitable<std::string> hanging() {
  Bed bed(co_await asio::this_coro::executor);
  co_await bed.up();
  ::kill(bed.local->pid, SIGSTOP);
  co_await bed.guest->check(100ms);
  std::string seen = bed.guest->by_mux() ? "kept" : "given up";
  ::kill(bed.local->pid, SIGKILL);
  co_await bed.up();
  co_await bed.end();
  co_return seen + ", again";
}

TEST(DataChannel, IsGivenUpWhenItDoesNotAnswer) { EXPECT_EQ(run(hanging(), 20s), "given up, again"); }

asio::awaitable<std::string> without_ports() {
  Bed bed(co_await asio::this_coro::executor);
  bed.local->with_ports = false;  // so the program looks for those of a machine
  bed.guest->use(bed.local->dial());
  while (bed.local->pid == 0) co_await sleep_for(1ms);
  co_await sleep_for(200ms);
  std::string seen = bed.guest->by_mux() ? "by mux" : co_await failure_of(bed.guest->open_unix("/x"));
  co_await bed.end();
  co_return seen;
}

TEST(DataChannel, LeavesStreamsToSshWhereThereAreNoPorts) {
  EXPECT_EQ(run(without_ports()), "guest_failed: SSH was asked for /x");
}

asio::awaitable<std::string> parked() {
  auto executor = co_await asio::this_coro::executor;
  Bed bed(executor);
  co_await bed.up();
  std::size_t right = 0;
  auto stream = co_await bed.guest->open_unix(bed.lab.echo_socket());
  TaskGroup tasks(executor);
  tasks.spawn("round trip", round_trip(*stream, 16 << 20, right));
  std::string seen;
  for (int i = 0; i < 5; ++i) {
    co_await sleep_for(10ms);
    co_await bed.guest->park();
    if (bed.guest->by_mux()) seen += "not parked ";
    const std::size_t then = right;
    auto ssh = failure_of(bed.guest->open_unix("/x"));
    if (co_await std::move(ssh) == "opened") seen += "opened ";
    co_await sleep_for(10ms);
    if (right > then + mux::window) seen += "goes on ";
    bed.guest->unpark();
    if (!bed.guest->by_mux()) seen += "lost ";
  }
  while (tasks.size() > 0) co_await sleep_for(5ms);
  seen += std::to_string(right);
  co_await bed.end();
  co_return seen;
}

TEST(DataChannel, LosesNothingWhenItPauses) { EXPECT_EQ(run(parked(), 30s), std::to_string(16 << 20)); }

}  // namespace
}  // namespace cl::test
