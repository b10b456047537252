#include "docker/port_forward.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#ifdef __linux__
#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <algorithm>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/udp.hpp>
#include <boost/asio/post.hpp>
#include <fstream>
#include <random>

#include "src/base/descriptor_limit.hpp"
#include "src/base/net/socket_stream.hpp"
#include "src/forward/socket_forward.hpp"
#include "tests/fakes/choppy_stream.hpp"
#include "tests/fakes/memory_messages.hpp"
#include "tests/support/run.hpp"

namespace cl::test {
namespace {

namespace ip = asio::ip;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

/// A guest in memory: an engine that lists what it is told to, and containers whose ports echo.
class FakeGuest : public Guest {
 public:
  explicit FakeGuest(asio::any_io_executor executor) : executor_(executor), said_(executor), tasks_(executor) {}

  asio::awaitable<std::unique_ptr<GuestProcess>> exec(ExecRequest) override { throw Error(Errc::internal, "no"); }
  asio::awaitable<std::unique_ptr<MessageStream>> open_service(std::string) override {
    auto ends = MemoryMessages::pair(executor_);
    listeners = std::move(ends.second);
    co_return std::move(ends.first);
  }
  asio::awaitable<std::unique_ptr<ByteStream>> open_unix(std::string) override {
    auto ends = MemoryStream::pair(executor_);
    tasks_.spawn("engine", answer(std::move(ends.second)));
    co_return std::move(ends.first);
  }
  asio::awaitable<std::unique_ptr<ByteStream>> open_tcp(std::string host, std::uint16_t port) override {
    ++asked;
    targets += host + ":" + std::to_string(port) + " ";
    co_await asio::post(executor_, asio::use_awaitable);
    if (!listening) throw Error(Errc::guest_failed, "connection refused");
    auto ends = MemoryStream::pair(executor_);
    tasks_.spawn("container", echo(std::move(ends.second)));
    co_return std::move(ends.first);
  }
  asio::awaitable<void> lost() override { co_return; }

  void tell(const std::string& action, const std::string& id) {
    events_ += fmt::format(R"({{"Type":"container","Action":"{}","Actor":{{"ID":"{}"}}}})", action, id) + "\n";
    said_.notify_all();
  }
  asio::awaitable<void> stop() { co_await tasks_.stop(); }

  std::string list = "[]";  ///< of containers
  int lists = 0;            ///< so many were asked for
  bool answers = true;      ///< the list
  bool listening = true;
  int asked = 0;
  std::string targets;
  std::unique_ptr<MemoryMessages> listeners;  ///< the agent's end of that service

 private:
  asio::awaitable<void> answer(std::unique_ptr<MemoryStream> client) {
    std::array<char, 4096> space;
    std::string request;
    for (;;) {
      while (request.find("\r\n\r\n") == std::string::npos) {
        const std::size_t got = co_await client->read_some(space);
        if (got == 0) co_return;
        request.append(space.data(), got);
      }
      const bool events = request.starts_with("GET /events");
      request.erase(0, request.find("\r\n\r\n") + 4);
      if (events) co_return co_await send_events(*client);
      ++lists;
      while (!answers) co_await said_.wait();
      const std::string text = "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(list.size()) + "\r\n\r\n" + list;
      co_await client->write(text);
    }
  }
  asio::awaitable<void> send_events(ByteStream& client) {
    co_await client.write(std::string_view("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"));
    for (;;) {
      while (events_.empty()) co_await said_.wait();
      const std::string chunk = fmt::format("{:x}\r\n{}\r\n", events_.size(), events_);
      events_.clear();
      co_await client.write(chunk);
    }
  }
  static asio::awaitable<void> echo(std::unique_ptr<MemoryStream> stream) {
    const std::string text = co_await read_to_end(*stream);
    co_await stream->write(text);
    co_await stream->shutdown_write();
  }

  asio::any_io_executor executor_;
  Notifier said_;
  std::string events_;
  TaskGroup tasks_;
};

std::string container(const std::string& id, const std::string& run, std::uint16_t first, int count = 1) {
  std::string ports;
  for (int i = 0; i < count; ++i)
    ports += fmt::format(R"({}{{"IP":"127.0.0.1","PrivatePort":{},"PublicPort":{},"Type":"tcp"}})", i == 0 ? "" : ",",
                         i + 1, first + i);
  return fmt::format(
      R"([{{"Id":"{}","Names":["/c-{}"],"Ports":[{}],"NetworkSettings":{{"Networks":{{"b":{{"IPAddress":"10.9.8.7","EndpointID":"{}"}}}}}}}}])",
      id, id, ports, run);
}

std::uint16_t free_port() {
  asio::io_context io(1);
  return ip::tcp::acceptor(io, ip::tcp::endpoint(ip::address_v4::loopback(), 0)).local_endpoint().port();
}

struct Bed {
  explicit Bed(asio::any_io_executor executor, PortForward::Timings timings = {}, PortRules rules = {})
      : guest(std::make_shared<FakeGuest>(executor)) {
    PortForward::Config config;
    config.guest = [this]() -> asio::awaitable<std::shared_ptr<Guest>> { co_return guest; };
    config.engine = "/engine.sock";
    config.timings = timings;
    config.rules = rules;
    ports.emplace(executor, std::move(config));
  }
  asio::awaitable<void> stop() {
    co_await ports->stop();
    co_await guest->stop();
  }
  std::size_t open() const {
    std::size_t count = 0;
    for (const PortStatus& port : ports->ports()) count += port.problem.empty() ? 1 : 0;
    return count;
  }
  std::shared_ptr<FakeGuest> guest;
  std::optional<PortForward> ports;
};

asio::awaitable<std::string> ask(std::uint16_t port, std::string text) {
  try {
    auto stream = co_await connect_tcp("127.0.0.1", port);
    co_await stream->write(text);
    co_await stream->shutdown_write();
    co_return co_await read_to_end(*stream);
  } catch (const Error& error) {
    co_return one_line(error);
  }
}

asio::awaitable<void> ask_into(std::uint16_t port, std::string text, std::string& into) {
  into = co_await ask(port, std::move(text));
}

asio::awaitable<std::string> reconciled_is_open() {
  Bed bed(co_await asio::this_coro::executor);
  const std::uint16_t port = free_port();
  bed.guest->list = container("a", "1", port);
  co_await bed.ports->reconciled();
  std::string said = co_await ask(port, "x");
  said += " " + bed.guest->targets;
  bed.guest->list = "[]";
  co_await bed.ports->reconciled();
  said += std::to_string(bed.open());
  co_await bed.stop();
  co_return said;
}

TEST(PortForward, HasThePortsOfWhatRunsOnceItIsReconciled) { EXPECT_EQ(run(reconciled_is_open()), "x 10.9.8.7:1 0"); }

asio::awaitable<std::size_t> open_after_a_late_list() {
  auto executor = co_await asio::this_coro::executor;
  PortForward::Timings timings;
  timings.again = {20ms, 20ms};
  Bed bed(executor, timings);
  co_await bed.ports->reconciled();
  const int before = bed.guest->lists;
  bed.guest->tell("connect", "a");
  while (bed.guest->lists == before) co_await asio::post(executor, asio::use_awaitable);
  bed.guest->list = container("a", "1", free_port());
  for (int i = 0; i < 100 && bed.open() == 0; ++i) co_await sleep_for(10ms);
  const std::size_t open = bed.open();
  co_await bed.stop();
  co_return open;
}

TEST(PortForward, LooksAgainAfterAnEventThatCameBeforeTheListHadIt) { EXPECT_EQ(run(open_after_a_late_list()), 1U); }

asio::awaitable<std::string> taken_port() {
  auto executor = co_await asio::this_coro::executor;
  Bed bed(executor);
  ip::tcp::acceptor other(executor, ip::tcp::endpoint(ip::address_v4::loopback(), 0));
  const std::uint16_t port = other.local_endpoint().port();
  bed.guest->list = container("abcdef", "1", port);
  co_await bed.ports->reconciled();
  std::string said = bed.ports->taken("c-abcdef");
  said.replace(said.find(std::to_string(port)), std::to_string(port).size(), "N");
  for (const char* name : {"abcdef", "abc"}) said += bed.ports->taken(name).empty() ? " not by id" : "";
  for (const char* name : {"c-abc", "other", "b"})
    said += bed.ports->taken(name).empty() ? "" : " also by another name";
  other.close();
  bed.guest->list = container("abcdef", "1", free_port());
  co_await bed.ports->reconciled();
  said += bed.ports->taken("abcdef").empty() ? "" : " still";
  co_await bed.stop();
  co_return said;
}

TEST(PortForward, TellsOfWhichContainerAPortIsTaken) {
  // Its holder is this process, which is never named.
  EXPECT_EQ(run(taken_port()), "Bind for 127.0.0.1:N failed: port is already allocated on this computer");
}

std::string udp_container(std::uint16_t port, const std::string& address) {
  std::string text = container("a", address, port);
  for (const auto& [from, to] : {std::pair<std::string, std::string>{"tcp", "udp"}, {"10.9.8.7", address}})
    text.replace(text.find(from), from.size(), to);
  return text;
}

/// The bytes counted for a published UDP port, of which a second target has none.
asio::awaitable<std::string> udp_port_that_moves() {
  Bed bed(co_await asio::this_coro::executor);
  asio::io_context io(1);
  const auto port = ip::udp::socket(io, ip::udp::endpoint(ip::address_v4::loopback(), 0)).local_endpoint().port();
  bed.guest->list = udp_container(port, "10.9.8.7");
  co_await bed.ports->reconciled();
  ip::udp::socket client(co_await asio::this_coro::executor, ip::udp::v4());
  const std::string datagram = "1234567";
  client.send_to(asio::buffer(datagram), ip::udp::endpoint(ip::address_v4::loopback(), port));
  auto counted = [&bed] { return bed.ports->ports().at(0).to_container; };
  for (int i = 0; i < 100 && counted() == 0; ++i) co_await sleep_for(10ms);
  std::string said = std::to_string(counted());
  co_await bed.ports->reconciled();
  said += " " + std::to_string(counted());
  bed.guest->list = udp_container(port, "10.9.8.8");
  co_await bed.ports->reconciled();
  said += " " + std::to_string(counted()) + " " + std::to_string(bed.open());
  co_await bed.stop();
  co_return said;
}

TEST(PortForward, OpensAUdpPortAnewWhenItsContainerHasAnotherAddress) {
  EXPECT_EQ(run(udp_port_that_moves()), "7 7 0 1");
}

asio::awaitable<std::string> told_containers() {
  auto executor = co_await asio::this_coro::executor;
  std::string told;
  auto guest = std::make_shared<FakeGuest>(executor);
  PortForward::Config config;
  config.guest = [guest]() -> asio::awaitable<std::shared_ptr<Guest>> { co_return guest; };
  config.engine = "/engine.sock";
  config.on_containers = [&told](const boost::json::array& containers) { told += std::to_string(containers.size()); };
  PortForward ports(executor, std::move(config));
  guest->list = R"([{"Id":"a","Ports":[]},{"Id":"b","Ports":[]}])";
  auto reconcile = [&]() -> asio::awaitable<void> {
    co_await ports.reconciled();
    told += " ";
  };
  co_await reconcile();
  auto until = [&](char last) -> asio::awaitable<void> {
    while (told.back() != last) co_await asio::post(executor, asio::use_awaitable);
  };
  guest->tell("die", "a");  // the engine goes on listing it for a while, and for more than one list
  co_await until('1');
  co_await reconcile();
  guest->tell("start", "a");
  co_await until('2');
  co_await reconcile();
  co_await ports.stop();
  co_await guest->stop();
  std::erase(told, ' ');
  told.erase(std::unique(told.begin(), told.end()), told.end());
  co_return told;
}

TEST(PortForward, TellsOfContainersWithoutPortsAndNotOfThoseThatEnded) { EXPECT_EQ(run(told_containers()), "212"); }

asio::awaitable<std::string> dead_but_listed() {
  auto executor = co_await asio::this_coro::executor;
  Bed bed(executor);
  bed.guest->list = container("a", "1", free_port());
  co_await bed.ports->reconciled();
  std::string seen = std::to_string(bed.open());
  bed.guest->tell("die", "a");
  while (bed.open() != 0) co_await asio::post(executor, asio::use_awaitable);
  co_await bed.ports->reconciled();  // the engine lists it still
  seen += std::to_string(bed.open());
  bed.guest->list = container("a", "2", free_port());
  co_await bed.ports->reconciled();  // another run: the event of its start may come later
  seen += std::to_string(bed.open());
  co_await bed.stop();
  co_return seen;
}

TEST(PortForward, DoesNotBelieveAListThatHasADeadContainerButItsNextRun) { EXPECT_EQ(run(dead_but_listed()), "101"); }

asio::awaitable<std::string> waits_for_the_program() {
  auto executor = co_await asio::this_coro::executor;
  Bed bed(executor);
  const std::uint16_t port = free_port();
  bed.guest->list = container("a", "1", port);
  bed.guest->listening = false;
  co_await bed.ports->reconciled();
  constexpr int count = 50;
  std::vector<std::string> answers(count);
  TaskGroup clients(executor);
  for (std::string& answer : answers) clients.spawn("client", ask_into(port, "x", answer));
  while (bed.guest->asked < 3) co_await sleep_for(1ms);
  const int before = bed.guest->asked;
  bed.guest->listening = true;
  while (clients.size() > 0) co_await sleep_for(1ms);
  std::string wrong;
  if (before > 5) wrong += "asked " + std::to_string(before) + " times before the program listened ";
  for (const std::string& answer : answers)
    if (answer != "x") wrong += answer + " ";
  co_await bed.stop();
  co_return wrong;
}

TEST(PortForward, WaitsForAProgramThatDoesNotListenYetAndAsksOnceForAll) {
  EXPECT_EQ(run(waits_for_the_program()), "");
}

asio::awaitable<std::string> nobody_listens() {
  auto executor = co_await asio::this_coro::executor;
  PortForward::Timings timings;
  timings.patience = 50ms;
  Bed bed(executor, timings);
  const std::uint16_t port = free_port();
  bed.guest->list = container("a", "1", port);
  bed.guest->listening = false;
  co_await bed.ports->reconciled();
  const std::string said = co_await ask(port, "x");
  co_await bed.stop();
  co_return said;
}

TEST(PortForward, ResetsAConnectionThatNobodyTakes) {
  EXPECT_NE(run(nobody_listens()).find("reset by peer"), std::string::npos);
}

asio::awaitable<std::string> ports_of_the_guest() {
  auto executor = co_await asio::this_coro::executor;
  Bed bed(executor);
  const std::uint16_t published = free_port(), listening = free_port();
  bed.guest->list = container("a", "1", published);
  PortRules rules{ip::make_address("127.0.0.1"), Forwarded::all};
  co_await bed.ports->set_rules(rules);
  std::string wrong;
  if (bed.open() != 1) wrong += std::to_string(bed.open()) + " are open before the guest has told of any ";
  while (!bed.guest->listeners) co_await asio::post(executor, asio::use_awaitable);
  const std::string list = "tcp 0.0.0.0 " + std::to_string(listening) + " /\n.\n";
  co_await bed.guest->listeners->write(list);
  while (bed.open() != 2) co_await asio::post(executor, asio::use_awaitable);
  if (co_await ask(listening, "x") != "x") wrong += "it does not answer ";
  if (bed.guest->targets != "127.0.0.1:" + std::to_string(listening) + " ") wrong += bed.guest->targets;
  co_await bed.guest->listeners->write(".\n");
  while (bed.open() != 1) co_await asio::post(executor, asio::use_awaitable);
  co_await bed.guest->listeners->write(list);
  while (bed.open() != 2) co_await asio::post(executor, asio::use_awaitable);
  rules.forwarded = Forwarded::published;
  co_await bed.ports->set_rules(rules);
  if (bed.open() != 1) wrong += std::to_string(bed.open()) + " are open when only published ones are wanted ";
  rules.forwarded = Forwarded::none;
  co_await bed.ports->set_rules(rules);
  if (bed.open() != 0) wrong += std::to_string(bed.open()) + " are open when none are wanted";
  co_await bed.stop();
  co_return wrong;
}

TEST(PortForward, FollowsWhatListensInTheGuestWhenItIsTo) { EXPECT_EQ(run(ports_of_the_guest()), ""); }

#ifdef __linux__
/// While it lives, this thread may not open ports that need a right, whoever it runs as.
class WithoutPrivilegedPorts {
 public:
  WithoutPrivilegedPorts() {
    ::syscall(SYS_capget, &header_, before_.data());
    auto less = before_;
    less[0].effective &= ~(1U << CAP_NET_BIND_SERVICE);
    ::syscall(SYS_capset, &header_, less.data());
  }
  ~WithoutPrivilegedPorts() { ::syscall(SYS_capset, &header_, before_.data()); }

 private:
  __user_cap_header_struct header_{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> before_{};
};

asio::awaitable<std::string> privileged_port() {
  const WithoutPrivilegedPorts weak;
  PortRules rules;
  rules.low_ports = true;
  Bed bed(co_await asio::this_coro::executor, {}, rules);
  const std::uint16_t other = free_port();
  std::string list = container("a", "1", 81);
  list.back() = ',';
  bed.guest->list = list + container("b", "1", other).substr(1);
  co_await bed.ports->reconciled();
  std::string said;
  for (const PortStatus& port : bed.ports->ports())
    if (port.at.port == 81) said += port.problem + " | " + port.remedy;
  said += " | " + co_await ask(other, "served");
  co_await bed.stop();
  co_return said;
}

TEST(PortForward, TellsWhatAPortNeedsThatThisUserMayNotOpen) {
  int first = 0;
  std::ifstream("/proc/sys/net/ipv4/ip_unprivileged_port_start") >> first;
  if (first <= 81) GTEST_SKIP() << "everybody may open such ports here";
  const std::string from = std::to_string(first);
  EXPECT_EQ(run(privileged_port()),
            "this user may not open ports below " + from + " | publish a port from " + from +
                " on, or allow it: sudo sysctl net.ipv4.ip_unprivileged_port_start=81 | served");
}
#endif

asio::awaitable<std::string> large_range(int count) {
  auto executor = co_await asio::this_coro::executor;
  PortRules rules;
  rules.limit = 10000;
  Bed bed(executor, {}, rules);
  int turns = 0;
  auto others = [](int& counted) -> asio::awaitable<void> {
    for (;; ++counted) co_await asio::post(co_await asio::this_coro::executor, asio::use_awaitable);
  };
  TaskGroup beside(executor);
  co_await bed.ports->reconciled();  // the event stream stands
  bed.guest->list = container("a", "1", 21000, count);
  beside.spawn("others", others(turns));
  const auto begun = Clock::now();
  co_await bed.ports->reconciled();
  const auto took = std::chrono::duration<double, std::milli>(Clock::now() - begun).count();
  std::string wrong;
  std::size_t taken = 0;
  for (const PortStatus& port : bed.ports->ports()) taken += port.problem.empty() ? 0 : 1;
  if (bed.open() + taken != static_cast<std::size_t>(count)) wrong = std::to_string(bed.open()) + " are open";
  if (turns < count / 100) wrong += " others had " + std::to_string(turns) + " turns";
  ::testing::Test::RecordProperty("milliseconds", fmt::format("{:.0f}", took));
  co_await bed.stop();
  co_return wrong;
}

TEST(PortForward, OpensARangeOfThousandsWithoutMakingOthersWait) {
  const auto count = std::min<std::uint64_t>(8193, raise_descriptor_limit() / 2);  // macOS: 5120
  ASSERT_GT(count, 500u);
  EXPECT_EQ(run(large_range(static_cast<int>(count))), "");
}

/// What is said of ports that the rules refuse, and that they are open as soon as other rules allow them.
asio::awaitable<std::string> refused_ports() {
  PortRules rules;
  rules.limit = 2;
  Bed bed(co_await asio::this_coro::executor, {}, rules);
  constexpr std::uint16_t first = 23000;
  std::string list = container("abc", "1", first, 4);
  list.back() = ',';
  bed.guest->list = list + container("low", "1", 81).substr(1);
  co_await bed.ports->reconciled();
  std::string said;
  for (const PortStatus& port : bed.ports->ports())
    said += fmt::format("{} {}: {}\n", port.at.port, port.container, port.problem);
  for (const std::string& line : bed.ports->problems()) said += line + "\n";
  said += bed.ports->taken("c-abc") + "\n";
  rules.limit = 4;
  co_await bed.ports->set_rules(rules);
  said += std::to_string(bed.open()) + bed.ports->taken("c-abc");
  rules.limit = 1;
  co_await bed.ports->set_rules(rules);
  said += " " + std::to_string(bed.open());
  co_await bed.stop();
  co_return said;
}

TEST(PortForward, RefusesWhatTheRulesDoNotAllowAndSaysSo) {
  EXPECT_EQ(
      run(refused_ports()),
      "81 c-low: ports below 1024 are not opened\n"
      "23000 c-abc: \n23001 c-abc: \n"
      "23002 c-abc: 2 ports are published, and no more are opened (1 more of its ports neither)\n"
      "127.0.0.1:81/tcp of c-low: ports below 1024 are not opened\n"
      "127.0.0.1:23002/tcp of c-abc: 2 ports are published, and no more are opened (1 more of its ports neither)\n"
      "Bind for 127.0.0.1:23002 failed: 2 ports are published, and no more are opened (1 more of its ports neither); "
      "publish fewer; or 'colima-like config set network.port_limit 4' and 'colima-like apply' allow it\n"
      "4 1");
}

/// How many of `count` ports, which another program has, are tried again at once, and whether each is in the end.
asio::awaitable<std::string> many_taken_ports(int count) {
  auto executor = co_await asio::this_coro::executor;
  PortForward::Timings timings;
  timings.retry = 100ms;
  Bed bed(executor, timings);
  // As many as are free in a row: other tests run beside this one.
  std::vector<ip::tcp::acceptor> others;
  int first = 12000;
  while (static_cast<int>(others.size()) < count) {
    const auto next = static_cast<std::uint16_t>(first + static_cast<int>(others.size()));
    ip::tcp::acceptor other(executor, ip::tcp::v4());
    error_code taken;
    other.bind({ip::address_v4::loopback(), next}, taken);
    if (!taken) other.listen(1, taken);
    if (!taken) {
      others.push_back(std::move(other));
    } else {
      others.clear();
      first = next + 1;
    }
  }
  bed.guest->list = container("a", "1", static_cast<std::uint16_t>(first), count);
  co_await bed.ports->reconciled();
  std::string said = std::to_string(bed.open());
  others.clear();
  std::size_t most = 0, before = 0;
  for (const auto until = Clock::now() + 20s; before < static_cast<std::size_t>(count) && Clock::now() < until;) {
    co_await sleep_for(10ms);
    const std::size_t now = bed.open();
    most = std::max(most, now - before);
    before = now;
  }
  said += fmt::format(" {} {}", before, most);
  co_await bed.stop();
  co_return said;
}

TEST(PortForward, TriesFewOfManyFailedPortsAgainAtOnce) { EXPECT_EQ(run(many_taken_ports(200)), "0 200 64"); }

/// With fewer descriptors than the ports would take.
asio::awaitable<std::string> few_descriptors(int count) {
  Bed bed(co_await asio::this_coro::executor);
  bed.guest->list = container("a", "1", 25000, count);
  co_await bed.ports->reconciled();
  std::string said = std::to_string(bed.open()) + " " + bed.ports->ports().back().problem;
  co_await bed.stop();
  co_return said;
}

TEST(PortForward, LeavesDescriptorsToOthers) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit few{400, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  const std::string said = run(few_descriptors(300));
  ::setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_EQ(
      said,
      "200 published ports take half of the files that the daemon may open, and no more are opened (99 more of its "
      "ports neither)");
}

/// Whether an engine is given up that tells of the end of `count` containers, and then of one whose port is open, and
/// answers nothing else.
asio::awaitable<bool> ends_without_end(int count, std::size_t length) {
  PortForward::Timings timings;
  timings.reconnect = 1h;
  Bed bed(co_await asio::this_coro::executor, timings);
  bed.guest->list = container("a", "1", free_port());
  co_await bed.ports->reconciled();
  bed.guest->answers = false;
  for (int i = 0; i < count; ++i) bed.guest->tell("die", fmt::format("{:0>{}}", i, length));
  bed.guest->tell("die", "a");
  for (int i = 0; i < 3000 && bed.ports->engine_answers() && bed.open() > 0; ++i) co_await sleep_for(10ms);
  const bool given_up = !bed.ports->engine_answers();
  EXPECT_EQ(bed.open(), given_up ? 1u : 0u);
  co_await bed.stop();
  co_return given_up;
}

TEST(PortForward, KeepsNoMoreEndsThanAMachineCanHave) {
  EXPECT_TRUE(run(ends_without_end(10'500, 64)));
  EXPECT_FALSE(run(ends_without_end(9'000, 64)));
  EXPECT_FALSE(run(ends_without_end(10'500, 65))) << "such an id is nobody's, and is not kept";
}

TEST(PortStatus, TellsWhichPortsOthersMayReach) {
  const auto reach = [](const char* address) {
    PortStatus port;
    port.at.address = ip::make_address(address);
    return port.for_network();
  };
  for (const char* host : {"127.0.0.1", "127.0.0.2", "::1"}) EXPECT_FALSE(reach(host)) << host;
  for (const char* network : {"0.0.0.0", "::", "192.0.2.1", "::ffff:127.0.0.1"}) EXPECT_TRUE(reach(network)) << network;
}

}  // namespace
}  // namespace cl::test
