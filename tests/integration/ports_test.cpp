#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/udp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <cstdlib>
#include <random>
#include <sstream>

#include "docker/gated_stream.hpp"
#include "docker/port_forward.hpp"
#include "provision/channel/agent_guest.hpp"
#include "src/base/log.hpp"
#include "src/forward/socket_forward.hpp"
#include "tests/fakes/choppy_stream.hpp"
#include "tests/integration/docker_engine.hpp"
#include "tests/integration/ssh_lab.hpp"

/// Ports published by a real dockerd that lives, with a real sshd, in a network name space of its own: what a guest is,
/// without the machine. Needs root.
namespace cl::test {
namespace {

namespace ip = asio::ip;
using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::duration<double, std::milli>;

constexpr const char* tcp_echo = "nc -ll -p 80 -e cat";
constexpr const char* udp_echo =
    R"(exec perl -e 'socket(S,2,2,17); bind(S,pack("SnNx8",2,80,0)) or die; while($p=recv(S,$b,65535,0)){send(S,$b,0,$p)}')";

/// A port that nobody has at the moment, nor the `count` - 1 after it; below those that systems give out by themselves.
std::uint16_t free_port(int count = 1) {
  asio::io_context io(1);
  static std::minstd_rand random(std::random_device{}());
  for (;;) {
    const auto first = std::uniform_int_distribution<std::uint16_t>(10000, 30000)(random);
    bool all = true;
    for (int i = 0; all && i < count; ++i) {
      error_code ec;
      ip::tcp::acceptor tcp(io);
      tcp.open(ip::tcp::v6());
      tcp.bind({ip::tcp::v6(), static_cast<std::uint16_t>(first + i)}, ec);
      ip::udp::socket udp(io, ip::udp::v6());
      if (!ec) udp.bind({ip::udp::v6(), static_cast<std::uint16_t>(first + i)}, ec);
      all = !ec;
    }
    if (all) return first;
  }
}

/// dockerd and sshd in their own network, the SSH session, the socket and the ports: all that a daemon has.
class Lab {
 public:
  Lab(asio::any_io_executor executor, Dockerd& engine)
      : executor_(executor), engine_(engine), ssh_(executor), connected_(executor), tasks_(executor) {}

  asio::awaitable<void> set_up(PortRules rules = {}) {
    co_await ssh_.set_up();
    std::vector<std::string> enter{"/usr/bin/nsenter", "--net", "--target", std::to_string(engine_.pid())};
    ssh_.set_prefix(std::move(enter));
    tasks_.spawn("guest link", keep_connected());
    PortForward::Config config;
    config.guest = [this] { return guest(); };
    config.engine = engine_.socket();
    config.rules = rules;
    config.timings.udp.idle = 2s;
    ports.emplace(executor_, std::move(config));
    auto gates = std::make_shared<GatedStream::Gates>();
    gates->reconciled = [this] { return ports->reconciled(); };
    auto open = [this, gates]() -> asio::awaitable<std::unique_ptr<ByteStream>> {
      auto reached = co_await guest();
      auto stream = co_await reached->open_unix(engine_.socket());
      co_return std::make_unique<GatedStream>(std::move(stream), gates);
    };
    socket.emplace(executor_, ssh_.directory() / "docker.sock", open);
    co_await ports->reconciled();
  }

  asio::awaitable<void> stop() {
    if (socket) co_await socket->stop();
    if (ports) co_await ports->stop();
    co_await tasks_.stop();
    if (guest_) co_await guest_->stop();
    guest_.reset();
    co_await ssh_.stop();
  }

  asio::awaitable<std::shared_ptr<Guest>> guest() {
    while (!guest_) co_await connected_.wait();
    co_return guest_;
  }
  void kill_session() { ssh_.kill_servers(); }

  /// The docker CLI on our socket; its output. Throws when it fails.
  template <class... Words>
  asio::awaitable<std::string> docker(const Words&... words) {
    return call(std::vector<std::string>{words...});
  }
  /// docker run -d OPTIONS busybox-test sh -c PROGRAM
  template <class... Options>
  asio::awaitable<std::string> start(const char* program, const Options&... options) {
    return call(std::vector<std::string>{"run", "-d", options..., "busybox-test", "sh", "-c", program});
  }
  /// One call on a connection of its own; the whole answer.
  asio::awaitable<std::string> api(std::string method, std::string target) {
    auto stream = co_await connect_unix(socket->path());
    const std::string request = method + " " + target + " HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n";
    co_await stream->write(request);
    co_return co_await read_to_end(*stream);
  }

  std::optional<PortForward> ports;
  std::optional<SocketForward> socket;

 private:
  asio::awaitable<std::string> call(std::vector<std::string> arguments) {
    Command command = engine_.cli(socket->path(), arguments);
    Finished finished = co_await cl::run(std::move(command), "", 60s);
    if (!finished.status.ok()) throw std::runtime_error("docker " + arguments.front() + ": " + finished.errors);
    while (finished.output.ends_with('\n')) finished.output.pop_back();
    co_return finished.output;
  }
  asio::awaitable<void> keep_connected() {
    for (;;) {
      std::shared_ptr<Guest> fresh;
      try {
        fresh = co_await ssh_.connect();
      } catch (const Error&) {
      }
      if (!fresh) {
        co_await sleep_for(50ms);
        continue;
      }
      AgentGuest::Config config;
      config.folder = (ssh_.directory() / "run" / "agent").string();
      guest_ = std::make_shared<AgentGuest>(executor_, fresh, std::move(config));
      connected_.notify_all();
      co_await fresh->lost();
      co_await std::exchange(guest_, nullptr)->stop();
    }
  }

  asio::any_io_executor executor_;
  Dockerd& engine_;
  SshLab ssh_;
  std::shared_ptr<AgentGuest> guest_;
  Notifier connected_;
  TaskGroup tasks_;
};

class Ports : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (const char* file = std::getenv("COLIMA_LIKE_TEST_LOG")) log::open(file, log::Level::debug);
    why_not_ = no_dockerd();
    for (const char* program : {"unshare", "nsenter", "ip", "perl", "sshd"})
      if (!find_program(program)) why_not_ = std::string(program) + " is not installed";
    if (!why_not_.empty()) return;
    try {
      engine_ = std::make_unique<Dockerd>(Dockerd::Network::own_namespace);
      run(engine_->import_image(), 60s);
      std::vector<std::string> arguments{"run", "--rm", "busybox-test", "/bin/echo", "fit"};
      const Finished plain = run(cl::run(engine_->cli(engine_->socket(), arguments), "", 60s), 60s);
      if (!plain.status.ok()) why_not_ = "dockerd cannot run containers with a network here: " + plain.errors;
    } catch (const Error& error) {
      why_not_ = one_line(error);
    }
  }
  static void TearDownTestSuite() { engine_.reset(); }
  void SetUp() override {
    if (!why_not_.empty()) GTEST_SKIP() << why_not_;
  }

  /// What `work` says went wrong; it gets a lab without containers.
  std::string in_lab(std::function<asio::awaitable<std::string>(Lab&)> work, PortRules rules = {}) {
    return run(try_in_lab(std::move(work), rules), 110s);
  }

 private:
  asio::awaitable<std::string> try_in_lab(std::function<asio::awaitable<std::string>(Lab&)> work, PortRules rules) {
    Lab lab(co_await asio::this_coro::executor, *engine_);
    std::string wrong;
    try {
      co_await lab.set_up(rules);
      wrong = co_await work(lab);
    } catch (const std::exception& error) {
      wrong = error.what();
    }
    co_await engine_->remove_containers();
    co_await lab.stop();
    co_return wrong;
  }

  static std::unique_ptr<Dockerd> engine_;
  static std::string why_not_;
};
std::unique_ptr<Dockerd> Ports::engine_;
std::string Ports::why_not_;

/// Sends, ends its side, and reads to the end; or why that failed.
asio::awaitable<std::string> echo(std::string address, std::uint16_t port, std::string text) {
  std::string got;
  try {
    auto stream = co_await connect_tcp(address, port);
    co_await stream->write(text);
    co_await stream->shutdown_write();
    got = co_await with_timeout(20s, "an echo", read_to_end(*stream));
  } catch (const Error& error) {
    got = one_line(error);
  }
  co_return got;
}

asio::awaitable<bool> refused(std::string address, std::uint16_t port) {
  try {
    co_await connect_tcp(address, port);
  } catch (const Error&) {
    co_return true;
  }
  co_return false;
}

asio::awaitable<std::string> udp_exchange(std::string address, std::uint16_t port, std::string text) {
  const ip::udp::endpoint to(ip::make_address(address), port);
  ip::udp::socket socket(co_await asio::this_coro::executor);
  socket.open(to.protocol());
  socket.connect(to);  // then only answers from exactly that address are received
  std::string got(65536, '\0');
  socket.send(asio::buffer(text));
  auto receive = [](ip::udp::socket& from, std::string& into) -> asio::awaitable<std::size_t> {
    auto [ec, size] = co_await from.async_receive(asio::buffer(into), no_throw);
    if (ec) throw boost::system::system_error(ec);
    co_return size;
  };
  std::size_t size = 0;
  try {
    size = co_await with_timeout(3s, "an answer", receive(socket, got));
  } catch (const std::exception& error) {
    co_return error.what();
  }
  got.resize(size);
  co_return got;
}

/// The first address of this host that is not a loopback one; empty when there is none.
std::string other_address() {
  asio::io_context io(1);
  ip::udp::socket socket(io, ip::udp::v4());
  error_code ec;
  socket.connect({ip::make_address("192.0.2.1"), 9}, ec);  // sends nothing
  return ec ? "" : socket.local_endpoint().address().to_string();
}

// ---- TCP --------------------------------------------------------------------------------------------------------

asio::awaitable<std::string> answers_at_once(Lab& lab, int times) {
  const auto port = free_port();
  co_await lab.docker("create", "--name", "web", "-p", std::to_string(port) + ":80", "busybox-test", "sh", "-c",
                      tcp_echo);
  std::string wrong;
  double slowest_end = 0;
  for (int i = 0; i < times; ++i) {
    const std::string started = co_await lab.api("POST", "/v1.41/containers/web/start");
    if (!started.starts_with("HTTP/1.1 204")) co_return started;
    const std::string text = "hello " + std::to_string(i);
    const std::string got = co_await echo("127.0.0.1", port, text);
    if (got != text) wrong += std::to_string(i) + ": " + got + "\n";
    const std::string killed = co_await lab.api("POST", "/v1.41/containers/web/kill");
    if (!killed.starts_with("HTTP/1.1 204")) co_return killed;
    const auto stopped = Clock::now();
    while (!co_await refused("127.0.0.1", port) && Clock::now() - stopped < 2s) co_await sleep_for(1ms);
    slowest_end = std::max(slowest_end, Milliseconds(Clock::now() - stopped).count());
    co_await lab.api("POST", "/v1.41/containers/web/wait");
  }
  if (slowest_end > 100) wrong += "a port was still open " + std::to_string(slowest_end) + " ms after the stop";
  co_return wrong;
}

/// A round takes about half a second, more on a loaded host; `scripts/test --long` asks for a hundred.
int rounds() {
  const char* asked = std::getenv("COLIMA_LIKE_PORT_ROUNDS");
  return asked == nullptr ? 25 : std::atoi(asked);
}

TEST_F(Ports, AnswerWhenTheStartHasReturnedAndAreGoneRightAfterTheStop) {
  EXPECT_EQ(in_lab([](Lab& lab) { return answers_at_once(lab, rounds()); }), "");
}

asio::awaitable<std::string> exact_addresses(Lab& lab) {
  const auto first = free_port(5);
  auto port = [first](int i) { return std::to_string(first + i); };
  co_await lab.start(tcp_echo, "-p", port(0) + ":80", "-p", "127.0.0.1:" + port(1) + ":80", "-p",
                     "[::1]:" + port(2) + ":80", "-p", "0.0.0.0:" + port(3) + ":80");
  const std::string other = other_address();
  std::string wrong;
  struct Case {
    std::string address;
    int port;
    bool open;
  };
  std::vector<Case> cases{{"127.0.0.1", 0, true},  {"::1", 0, true}, {"127.0.0.1", 1, true}, {"::1", 1, false},
                          {"127.0.0.1", 2, false}, {"::1", 2, true}, {"127.0.0.1", 3, true}, {"::1", 3, false},
                          {"127.0.0.1", 4, false}, {"::1", 4, false}};
  if (!other.empty()) {
    cases.push_back({other, 0, true});
    cases.push_back({other, 1, false});
  }
  for (const Case& one : cases) {
    const auto number = static_cast<std::uint16_t>(first + one.port);
    const std::string got = co_await echo(one.address, number, "x");
    if ((got == "x") != one.open) wrong += one.address + " " + std::to_string(one.port) + ": " + got + "\n";
  }
  co_return wrong;
}

TEST_F(Ports, AreOpenOnExactlyTheAddressesAskedFor) { EXPECT_EQ(in_lab(exact_addresses), ""); }

asio::awaitable<std::string> localhost_only(Lab& lab) {
  const auto port = free_port();
  const std::string other = other_address();
  co_await lab.start(tcp_echo, "-p", std::to_string(port) + ":80");
  std::string wrong;
  if (co_await echo("127.0.0.1", port, "x") != "x") wrong += "not on 127.0.0.1 ";
  if (!other.empty() && !co_await refused(other, port)) wrong += "on " + other;
  co_return wrong;
}

TEST_F(Ports, StayOnLoopbackWhenTheProfileSaysSo) {
  EXPECT_EQ(in_lab(localhost_only, PortRules{ip::address_v4::loopback()}), "");
}

asio::awaitable<std::string> ranges_and_ephemeral(Lab& lab) {
  const auto first = free_port(20);
  const std::string range = std::to_string(first) + "-" + std::to_string(first + 19);
  co_await lab.start(tcp_echo, "--name", "many", "-p", range + ":80-99", "-p", "200");
  std::string wrong;
  if (co_await echo("127.0.0.1", first, "x") != "x") wrong += "the first of the range does not answer ";
  std::size_t open = 0;
  for (const PortStatus& port : lab.ports->ports()) open += port.problem.empty() ? 1 : 0;
  if (open != 42) wrong += std::to_string(open) + " ports are open, not 2 x 21 ";
  for (const std::string& line : lab.ports->problems()) wrong += line + " ";
  // Lines of "ADDRESS:NUMBER"; the engine chooses for each address family by itself.
  std::istringstream said(co_await lab.docker("port", "many", "200/tcp"));
  int families = 0;
  for (std::string line; std::getline(said, line); ++families) {
    const auto number = static_cast<std::uint16_t>(std::stoi(line.substr(line.rfind(':') + 1)));
    const bool v6 = line.starts_with('[') || line.starts_with("::");
    if (co_await refused(v6 ? "::1" : "127.0.0.1", number)) wrong += line + " is not open ";
  }
  if (families != 2) wrong += "docker port names " + std::to_string(families) + " ports";
  co_return wrong;
}

TEST_F(Ports, OfRangesAndEphemeralOnesAreOpen) { EXPECT_EQ(in_lab(ranges_and_ephemeral), ""); }

asio::awaitable<std::string> bulk_and_half_close(Lab& lab) {
  const auto port = free_port();
  co_await lab.start(tcp_echo, "-p", std::to_string(port) + ":80");
  const std::string sent = pattern(8 << 20);
  auto stream = co_await connect_tcp("127.0.0.1", port);
  std::string got;
  auto send = [](ByteStream& to, const std::string& bytes) -> asio::awaitable<void> {
    co_await to.write(bytes);
    co_await to.shutdown_write();
  };
  TaskGroup sender(co_await asio::this_coro::executor);
  sender.spawn("sender", send(*stream, sent));
  got = co_await with_timeout(30s, "the echo", read_to_end(*stream));
  co_await sender.stop();
  if (got != sent) co_return "got " + std::to_string(got.size()) + " bytes";
  for (const PortStatus& status : lab.ports->ports())
    if (status.at.address.is_v4() && (status.to_container != sent.size() || status.from_container != sent.size()))
      co_return "counted " + std::to_string(status.to_container) + "/" + std::to_string(status.from_container);
  co_return "";
}

TEST_F(Ports, CarryBulkAndEndEachDirectionByItself) { EXPECT_EQ(in_lab(bulk_and_half_close), ""); }

/// Takes one connection, and notes how it ended: "end", or why reading failed. With "reset" as its first line it resets
/// it.
constexpr const char* watcher =
    R"(exec perl -e 'socket(S,2,1,6); bind(S,pack("SnNx8",2,80,0)) or die; listen(S,5); accept(C,S); $n=sysread(C,$b,100); if($b=~/reset/){setsockopt(C,1,13,pack("ii",1,0)); close C; $w="reset"} else {1 while ($n=sysread(C,$b,100)); $w=defined $n?"end":"$!"} open(L,">/log"); print L $w; close L; sleep 1000')";

asio::awaitable<std::string> log_of(Lab& lab, std::string name) {
  std::string said;
  for (int i = 0; i < 200 && said.empty(); ++i) {
    said = co_await lab.docker("exec", name, "sh", "-c", "cat /log 2>/dev/null; true");
    if (said.empty()) co_await sleep_for(20ms);
  }
  co_return said;
}

/// Until the connection ends, writing all the time; why it ended.
asio::awaitable<std::string> write_until_it_breaks(ByteStream& stream) {
  for (;;) {
    try {
      co_await stream.write(std::string_view("more"));
    } catch (const Error& error) {
      co_return one_line(error);
    }
    co_await sleep_for(5ms);
  }
}

asio::awaitable<std::string> resets(Lab& lab) {
  const auto port = free_port(2);
  const auto second = static_cast<std::uint16_t>(port + 1);
  co_await lab.start(watcher, "--name", "one", "-p", std::to_string(port) + ":80");
  co_await lab.start(watcher, "--name", "two", "-p", std::to_string(second) + ":80");
  std::string wrong;
  // By the client: without an end of its direction, close() resets.
  auto client = co_await connect_tcp("127.0.0.1", port);
  co_await client->write(std::string_view("hello"));
  client->close();
  if (const std::string said = co_await log_of(lab, "one"); said.empty()) wrong += "the container's side stays open ";
  // By the container: the client's bytes have nowhere to go.
  auto other = co_await connect_tcp("127.0.0.1", second);
  co_await other->write(std::string_view("reset"));
  if (co_await log_of(lab, "two") != "reset") wrong += "the container did not reset ";
  const std::string broke = co_await with_timeout(5s, "the break", write_until_it_breaks(*other));
  if (broke.find("reset") == std::string::npos && broke.find("roken pipe") == std::string::npos) wrong += broke;
  for (const PortStatus& status : lab.ports->ports())
    if (status.connections != 0) wrong += status.at.str() + " has connections still ";
  co_return wrong;
}

TEST_F(Ports, EndBothSidesOfAConnectionThatOneSideResets) { EXPECT_EQ(in_lab(resets), ""); }

// ---- ports of the guest itself --------------------------------------------------------------------------------------

asio::awaitable<std::string> until_open(std::uint16_t port, bool open) {
  const auto begun = Clock::now();
  while (co_await refused("127.0.0.1", port) == open)
    if (Clock::now() - begun > 5s)
      co_return std::string("not ") + (open ? "opened " : "closed ");
    else
      co_await sleep_for(5ms);
  co_return "";
}

asio::awaitable<std::string> guest_ports(Lab& lab) {
  const auto port = free_port(3);
  const auto at = [port](int i) { return static_cast<std::uint16_t>(port + i); };
  const std::string listen = "exec nc -ll -p " + std::to_string(at(0)) + " -e cat";
  co_await lab.start(listen.c_str(), "--name", "inside", "--network", "host");
  co_await lab.start(tcp_echo, "--name", "web", "-p", std::to_string(at(1)) + ":80");
  std::string wrong;
  if (!co_await refused("127.0.0.1", at(0))) wrong += "open before it is asked for ";
  PortRules rules;
  rules.forwarded = Forwarded::all;
  co_await lab.ports->set_rules(rules);
  wrong += co_await until_open(at(0), true);
  if (co_await echo("127.0.0.1", at(0), "x") != "x") wrong += "it does not answer ";
  // The engine's proxy listens for "web" in the guest, too; the port belongs to the container all the same.
  std::string names;
  for (const PortStatus& status : lab.ports->ports())
    if (status.at.address.is_v4()) names += std::to_string(status.at.port - port) + status.container + " ";
  if (names != "0inside 1web ") wrong += names;
  co_await lab.docker("kill", "web");
  if (!co_await refused("127.0.0.1", at(1))) wrong += "the proxy of a container that ended is taken for a program ";
  co_await lab.docker("kill", "inside");
  wrong += co_await until_open(at(0), false);
  rules.forwarded = Forwarded::published;
  co_await lab.start(listen.c_str(), "--name", "again", "--network", "host");
  co_await lab.ports->set_rules(rules);
  if (!co_await refused("127.0.0.1", at(0))) wrong += "open when it is not asked for any more";
  co_return wrong;
}

TEST_F(Ports, OfProgramsInTheGuestAreOpenWhenAskedFor) { EXPECT_EQ(in_lab(guest_ports), ""); }

// ---- UDP --------------------------------------------------------------------------------------------------------

asio::awaitable<std::string> udp(Lab& lab) {
  const auto port = free_port();
  const std::string at = std::to_string(port);
  co_await lab.start(udp_echo, "-p", at + ":80/udp");
  std::string wrong;
  std::vector<std::string> addresses{"127.0.0.1", "127.0.0.2", "::1"};  // 127.0.0.2: the answer must come from it
  if (const std::string other = other_address(); !other.empty()) addresses.push_back(other);
  // The first datagrams may come before the program in the container has its socket, which loses them, as anywhere.
  for (int i = 0; i < 5 && co_await udp_exchange("127.0.0.1", port, "there?") != "there?"; ++i) {
  }
  const std::vector<std::string> texts{"ping", pattern(30000)};
  for (const std::string& address : addresses)
    for (const std::string& text : texts)
      if (const std::string got = co_await udp_exchange(address, port, text); got != text)
        wrong += address + ": " + (got.size() > 100 ? std::to_string(got.size()) + " bytes" : got) + "\n";
  co_return wrong;
}

TEST_F(Ports, CarryDatagramsOverBothFamiliesAndAnswerFromTheAddressAsked) { EXPECT_EQ(in_lab(udp), ""); }

// ---- trouble ------------------------------------------------------------------------------------------------------

asio::awaitable<std::string> conflict(Lab& lab) {
  auto executor = co_await asio::this_coro::executor;
  const auto port = free_port(2);
  const auto at = [port](int i) { return std::to_string(port + i); };
  std::optional<ip::tcp::acceptor> foreign;  // of this process, which is never named: see port_owner_test
  foreign.emplace(executor, ip::tcp::endpoint(ip::address_v4::loopback(), port), false);
  co_await lab.start(tcp_echo, "--name", "web", "-p", "127.0.0.1:" + at(0) + ":80", "-p", "127.0.0.1:" + at(1) + ":80");
  std::string wrong;
  if (co_await echo("127.0.0.1", static_cast<std::uint16_t>(port + 1), "x") != "x")
    wrong += "it disturbs another port ";
  std::string said;
  for (const std::string& line : lab.ports->problems()) said += line;
  const std::string expected = "127.0.0.1:" + at(0) + "/tcp of web: the port is taken on this host";
  if (said != expected) wrong += "it says: " + said;
  foreign.reset();
  const auto freed = Clock::now();
  while (!lab.ports->problems().empty() && Clock::now() - freed < 5s) co_await sleep_for(10ms);
  if (co_await echo("127.0.0.1", port, "x") != "x") wrong += "it is not opened when it is free";
  co_return wrong;
}

TEST_F(Ports, ThatAreTakenAreToldAndOpenedWhenFree) { EXPECT_EQ(in_lab(conflict), ""); }

asio::awaitable<std::string> lost_session(Lab& lab) {
  const auto ports = free_port(2);
  const auto second = static_cast<std::uint16_t>(ports + 1);
  co_await lab.start(tcp_echo, "--name", "one", "-p", std::to_string(ports) + ":80");
  co_await lab.start(tcp_echo, "--name", "two", "-p", std::to_string(second) + ":80");
  std::string wrong;
  lab.kill_session();
  const auto killed = Clock::now();
  std::string got;
  do got = co_await echo("127.0.0.1", ports, "x");
  while (got != "x" && Clock::now() - killed < 5s);
  if (Clock::now() - killed > 3s) wrong += "served again only after more than three seconds ";
  // While the session was away nobody told us of this.
  co_await lab.docker("rm", "-f", "two");
  const auto removed = Clock::now();
  while (!co_await refused("127.0.0.1", second) && Clock::now() - removed < 20s) co_await sleep_for(10ms);
  if (!co_await refused("127.0.0.1", second)) wrong += "a port of a removed container is still open";
  co_return wrong;
}

TEST_F(Ports, AreServedAgainAfterTheSessionWasLost) { EXPECT_EQ(in_lab(lost_session), ""); }

}  // namespace
}  // namespace cl::test
