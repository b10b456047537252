#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cstring>
#include <thread>

#include "src/base/unique_fd.hpp"
#include "tests/e2e/sandbox.hpp"

// Forwards of one machine, both ways; the tests build on each other, in this order.

namespace cl::e2e {
namespace {

/// In the guest: who connects to the port or the socket gets back what they send.
constexpr const char* guest_servers = R"(
systemd-run --quiet --unit=echo-tcp systemd-socket-activate --inetd --accept -l 127.0.0.1:7001 cat
systemd-run --quiet --unit=echo-unix systemd-socket-activate --inetd --accept -l /run/echo.sock cat
systemd-run --quiet --unit=echo-udp perl -e 'use Socket; socket(S,PF_INET,SOCK_DGRAM,0); bind(S,sockaddr_in(7001,inet_aton("127.0.0.1"))) or die; while($p=recv(S,$b,65535,0)){send(S,$b,0,$p)}'
until [ -S /run/echo.sock ] && ss -lnt | grep -q :7001 && ss -lnu | grep -q :7001; do sleep 0.1; done
)";

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

sockaddr_un named(const fs::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  return address;
}

template <class Address>
UniqueFd connected(const Address& address, int type) {
  UniqueFd fd(::socket(reinterpret_cast<const sockaddr&>(address).sa_family, type | SOCK_CLOEXEC, 0));
  const timeval most{30, 0};  // a client may wake the machine
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return UniqueFd();
  return fd;
}

/// Sends, ends its side, reads to the end; "refused" when nobody listens there, "broken" when it is cut off.
template <class Address>
std::string echo(const Address& address, const std::string& text) {
  const UniqueFd fd = connected(address, SOCK_STREAM);
  if (!fd) return "refused";
  if (::send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL) < 0) return "broken";
  ::shutdown(fd.get(), SHUT_WR);
  std::string got;
  char space[4096];
  for (ssize_t count = 0; (count = ::recv(fd.get(), space, sizeof space, 0)) != 0;) {
    if (count < 0) return "broken";
    got.append(space, static_cast<std::size_t>(count));
  }
  return got;
}

std::string udp_echo(std::uint16_t port, const std::string& text) {
  const UniqueFd fd = connected(loopback(port), SOCK_DGRAM);
  const timeval most{4, 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most);
  std::string got(4096, '\0');
  for (int attempt = 0; attempt < 5; ++attempt) {
    ::send(fd.get(), text.data(), text.size(), 0);
    const ssize_t count = ::recv(fd.get(), got.data(), got.size(), 0);
    if (count >= 0) return got.substr(0, static_cast<std::size_t>(count));
  }
  return "no answer";
}

/// A program of this computer that answers HTTP with one word.
class HostServer {
 public:
  template <class Address>
  HostServer(const Address& address, std::string word) : word_(std::move(word)) {
    listener_ = UniqueFd(::socket(reinterpret_cast<const sockaddr&>(address).sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int on = 1;
    ::setsockopt(listener_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(listener_.get(), 16), 0);
    thread_ = std::thread([this] { serve(); });
  }
  ~HostServer() {
    ::shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
  }
  HostServer(const HostServer&) = delete;
  HostServer& operator=(const HostServer&) = delete;

 private:
  void serve() const {
    for (;;) {
      const UniqueFd client(::accept(listener_.get(), nullptr, nullptr));
      if (!client) return;
      char request[4096];
      if (::recv(client.get(), request, sizeof request, 0) < 0) continue;
      const std::string answer = "HTTP/1.0 200 OK\r\n\r\n" + word_;
      ::send(client.get(), answer.data(), answer.size(), MSG_NOSIGNAL);
    }
  }

  UniqueFd listener_;
  std::string word_;
  std::thread thread_;
};

class Forwards : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    box = new Sandbox;
    const Result started = box->cl({"start"}, {}, 1800s);
    intact = started.code == 0;
    EXPECT_OK(started);
    if (!intact) return;
    box->import_busybox("box");
    intact = serve_in_guest();
  }
  static void TearDownTestSuite() { delete box; }
  void SetUp() override { ASSERT_TRUE(intact) << "an earlier step failed, this one stands on it"; }
  void TearDown() override { intact = intact && !HasFatalFailure(); }

  static bool serve_in_guest() {
    const Result made = cl({"ssh", "--", "timeout", "60", "sh", "-s"}, guest_servers);
    EXPECT_OK(made);
    return made.code == 0;
  }
  static Result cl(std::vector<std::string> args, std::string_view input = {}) {
    return box->cl(std::move(args), input);
  }
  static std::uint16_t port(int number) {
    return static_cast<std::uint16_t>(20000 + static_cast<int>(::getpid()) % 2000 * 4 + number);
  }
  static std::string text(int number) { return std::to_string(port(number)); }
  static fs::path socket_here() { return box->root() / "in.sock"; }
  static fs::path server_here() { return box->root() / "out.sock"; }
  static std::string from_guest(std::vector<std::string> more) {
    std::vector<std::string> words{"ssh", "--", "curl", "-s", "-S", "--max-time", "20"};
    words.insert(words.end(), more.begin(), more.end());
    const Result said = cl(std::move(words));
    return said.code == 0 ? said.out : said.err;
  }
  /// Each of the five forwards, "ok" for all.
  static std::string all_ways() {
    const HostServer tcp(loopback(port(1)), "host tcp");
    ::unlink(server_here().c_str());
    const HostServer socket(named(server_here()), "host unix");
    const std::pair<std::string, std::string> seen[] = {
        {"to the guest's port", echo(loopback(port(0)), "to the guest's port")},
        {"to the guest's socket", echo(named(socket_here()), "to the guest's socket")},
        {"datagram", udp_echo(port(0), "datagram")},
        {"host tcp", from_guest({"http://127.0.0.1:7002/"})},
        {"host unix", from_guest({"--unix-socket", "/run/forwards/out.sock", "http://host/"})}};
    std::string wrong;
    for (const auto& [wanted, got] : seen)
      if (got != wanted) wrong += "instead of '" + wanted + "': '" + got + "'\n";
    return wrong.empty() ? "ok" : wrong;
  }
  static std::vector<std::string> items() {
    return {text(0) + ":7001", text(0) + ":7001/udp", socket_here().string() + ":/run/echo.sock",
            "reverse:7002:" + text(1), "reverse:/run/forwards/out.sock:" + server_here().string()};
  }
  /// "open" when all are; else what `forward list` says.
  static std::string listed() {
    const Result list = cl({"forward", "list", "--json"});
    if (list.code != 0) return list.err;
    const auto all = boost::json::parse(list.out).as_array();
    bool open = all.size() == items().size();
    for (const auto& one : all) open = open && one.at("state").as_string() == "open";
    return open ? "open" : list.out;
  }

  static Sandbox* box;
  static bool intact;
};
Sandbox* Forwards::box = nullptr;
bool Forwards::intact = false;

TEST_F(Forwards, CarryPortsAndSocketsBothWaysAtOnce) {
  for (const std::string& item : items()) ASSERT_OK(cl({"forward", "add", item}));
  EXPECT_EQ(all_ways(), "ok");
  EXPECT_EQ(listed(), "open");
  EXPECT_EQ(fs::status(socket_here()).permissions(), fs::perms::owner_read | fs::perms::owner_write);
  EXPECT_EQ(box->status().at("forwards").as_array().size(), items().size());
  EXPECT_NE(cl({"ports"}).out.find("forward " + text(0) + ":7001"), std::string::npos);
}

TEST_F(Forwards, OneThatNobodyAnswersIsClosed) {
  EXPECT_EQ(echo(loopback(port(0)), "somebody"), "somebody");
  ASSERT_OK(cl({"forward", "add", text(2) + ":1"}));
  EXPECT_EQ(echo(loopback(port(2)), "nobody"), "broken");
  EXPECT_OK(cl({"forward", "remove", text(2)}));
  EXPECT_EQ(echo(loopback(port(2)), "nobody"), "refused");
  EXPECT_NE(from_guest({"http://127.0.0.1:7002/"}).find("reset"), std::string::npos) << "no program listens here";
}

TEST_F(Forwards, SayWhoHasAPort) {
  const Result run = box->docker({"run", "--rm", "-p", "127.0.0.1:" + text(0) + ":80", "box", "true"});
  EXPECT_NE(run.code, 0);
  EXPECT_NE(run.err.find("the forward " + text(0) + ":7001"), std::string::npos) << run;
  ASSERT_OK(box->docker({"run", "-d", "--name", "web", "-p", text(3) + ":80", "box", "sleep", "1000"}));
  expect_error(cl({"forward", "add", text(3) + ":80"}), 6, {"is taken by the container web, which publishes it"});
  EXPECT_OK(box->docker({"rm", "-f", "web"}));
  const HostServer other(loopback(port(2)), "");
  expect_error(cl({"forward", "add", text(2) + ":80"}), 6, {"is taken by", "(process " + std::to_string(::getpid())});
  expect_error(cl({"forward", "add", "-R", "/run/docker.sock:" + text(1)}), 5,
               {"a program in the machine listens on /run/docker.sock already"});
  EXPECT_EQ(listed(), "open") << "what could not be opened is not there";
}

TEST_F(Forwards, WakeASuspendedMachine) {
  ASSERT_OK(cl({"suspend"}));
  EXPECT_EQ(echo(loopback(port(0)), "wake up"), "wake up");
  EXPECT_EQ(box->state(), "running");
  EXPECT_EQ(all_ways(), "ok");
  ASSERT_OK(cl({"suspend"}));
  box->kill_daemons();
  ASSERT_OK(cl({"start"}));
  EXPECT_EQ(all_ways(), "ok") << "the guest's end of what listened there is older than this daemon";
}

TEST_F(Forwards, OutliveTheAgent) {
  ASSERT_OK(cl({"ssh", "--", "systemctl", "kill", "-s", "KILL", "colima-like-agent*"}));
  std::string seen;
  for (int i = 0; i < 30 && seen != "ok"; ++i) seen = all_ways();
  EXPECT_EQ(seen, "ok");
}

TEST_F(Forwards, AreThereAfterARestart) {
  ASSERT_OK(box->cl({"restart"}, {}, boot_limit));
  EXPECT_EQ(listed(), "open");
  ASSERT_TRUE(serve_in_guest());
  EXPECT_EQ(all_ways(), "ok");
}

TEST_F(Forwards, AreGoneWhenTheyAreRemoved) {
  for (const std::string& item : items()) EXPECT_OK(cl({"forward", "remove", item}));
  EXPECT_EQ(echo(loopback(port(0)), "x"), "refused");
  EXPECT_EQ(echo(named(socket_here()), "x"), "refused");
  EXPECT_FALSE(fs::exists(socket_here()));
  EXPECT_NE(from_guest({"http://127.0.0.1:7002/"}).find("7002"), std::string::npos);
  EXPECT_EQ(cl({"forward", "list", "--json"}).out, "[]\n");
  expect_error(cl({"forward", "remove", text(0)}), 1, {"is not one of the profile's forwards"});
}

}  // namespace
}  // namespace cl::e2e
