#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <arpa/inet.h>
#include <boost/json.hpp>
#include <csignal>
#include <fstream>

#include "src/base/file.hpp"
#include "src/base/platform.hpp"
#include "src/base/unique_fd.hpp"
#include "tests/e2e/shared_machine.hpp"

// What containers publish is on this host, as with a local engine.

namespace cl::e2e {
namespace {

constexpr const char* tcp_echo = "exec busybox nc -ll -p 80 -e cat";
constexpr const char* udp_echo =
    R"(exec chroot /guest perl -e 'socket(S,2,2,17); bind(S,pack("SnNx8",2,80,0)) or die; while($p=recv(S,$b,65535,0)){send(S,$b,0,$p)}')";

/// A socket towards a numeric address of this host, with time-outs.
UniqueFd connect_to(const std::string& address, std::uint16_t port, int type) {
  sockaddr_in v4{};
  sockaddr_in6 v6{};
  const bool is_v6 = address.find(':') != std::string::npos;
  v4.sin_family = AF_INET;
  v4.sin_port = htons(port);
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(port);
  ::inet_pton(is_v6 ? AF_INET6 : AF_INET, address.c_str(),
              is_v6 ? static_cast<void*>(&v6.sin6_addr) : static_cast<void*>(&v4.sin_addr));
  UniqueFd fd(::socket(is_v6 ? AF_INET6 : AF_INET, type, 0));
  const timeval most{20, 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &most, sizeof(most));
  const auto* where = is_v6 ? reinterpret_cast<const sockaddr*>(&v6) : reinterpret_cast<const sockaddr*>(&v4);
  if (::connect(fd.get(), where, is_v6 ? sizeof(v6) : sizeof(v4)) != 0) return UniqueFd();
  return fd;
}

/// Sends, ends its side, reads to the end; "refused" when nobody listens there, "broken" when it is cut off.
std::string echo(const std::string& address, std::uint16_t port, const std::string& text) {
  const UniqueFd fd = connect_to(address, port, SOCK_STREAM);
  if (!fd) return "refused";
  if (::send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL) < 0) return "broken";
  ::shutdown(fd.get(), SHUT_WR);
  std::string got;
  char space[4096];
  for (ssize_t count = 0; (count = ::recv(fd.get(), space, sizeof(space), 0)) != 0;) {
    if (count < 0) return "broken";
    got.append(space, static_cast<std::size_t>(count));
  }
  return got;
}

std::string udp_exchange(const std::string& address, std::uint16_t port, const std::string& text) {
  const UniqueFd fd = connect_to(address, port, SOCK_DGRAM);
  std::string got(65536, '\0');
  for (int attempt = 0; attempt < 5; ++attempt) {  // what comes before the program has its socket is lost, as anywhere
    const timeval most{4, 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &most, sizeof(most));
    ::send(fd.get(), text.data(), text.size(), 0);
    const ssize_t count = ::recv(fd.get(), got.data(), got.size(), 0);
    if (count >= 0) return got.substr(0, static_cast<std::size_t>(count));
  }
  return "no answer";
}

std::string program_name() { return fs::read_symlink("/proc/self/exe").filename(); }

class Ports : public OnDocker {
 protected:
  /// docker run -d OPTIONS box sh -c PROGRAM
  static Result detached(std::vector<std::string> options, const std::string& program = tcp_echo) {
    std::vector<std::string> args{"run", "-d"};
    args.insert(args.end(), options.begin(), options.end());
    args.insert(args.end(), {"box", "sh", "-c", program});
    return docker(std::move(args));
  }
  /// Ports that this test program may hope to have for itself.
  static std::uint16_t some_port() {
    static int next = 20000 + static_cast<int>(::getpid()) % 10000;
    return static_cast<std::uint16_t>(next += 7);
  }
};

TEST_F(Ports, AnswerWhenRunHasReturnedAndAreGoneWithTheContainer) {
  const std::uint16_t port = some_port();
  const std::string at = std::to_string(port);
  ASSERT_OK(detached({"--name", "web", "-p", at + ":80"}));
  EXPECT_EQ(echo("127.0.0.1", port, "one"), "one");
  EXPECT_EQ(echo("::1", port, "two"), "two");
  for (int i = 0; i < 2; ++i) {  // tests/bench does it a hundred times
    ASSERT_OK(docker({"kill", "web"}));
    ASSERT_OK(docker({"wait", "web"}));
    // The engine tells who waits of the end, and its events, one after the other.
    // A connection in between waits until the guest knows that nobody is at the address any more.
    EXPECT_TRUE(eventually(20s, [port] { return echo("127.0.0.1", port, "gone") == "refused"; }));
    ASSERT_OK(docker({"start", "web"}));
    EXPECT_EQ(echo("127.0.0.1", port, "again"), "again") << "start " << i;
  }
  const Result listed = box->cl({"ports", "--json"});
  EXPECT_OK(listed);
  const auto ports = boost::json::parse(listed.out).as_array();
  ASSERT_EQ(ports.size(), 2u) << listed;
  EXPECT_EQ(ports[0].at("container").as_string(), "web");
  EXPECT_EQ(ports[0].at("address").as_string(), "0.0.0.0");
  EXPECT_EQ(ports[0].at("port").as_int64(), port);
  EXPECT_EQ(ports[0].at("state").as_string(), "open");
  EXPECT_EQ(ports[0].at("reach").as_string(), "network");
  EXPECT_EQ(ports[0].at("bytes_in").as_int64(), 5);
  EXPECT_EQ(ports[1].at("address").as_string(), "::");
  EXPECT_OK(docker({"rm", "-f", "web"}));
}

TEST_F(Ports, OfLoopbackAndOfRangesAreWhereTheyWereAskedFor) {
  const std::uint16_t port = some_port(), range = some_port();
  const auto at = [](int number) { return std::to_string(number); };
  ASSERT_OK(detached(
      {"--name", "many", "-p", "127.0.0.1:" + at(port) + ":80", "-p", at(range) + "-" + at(range + 4) + ":80-84"}));
  EXPECT_EQ(echo("127.0.0.1", port, "x"), "x");
  EXPECT_EQ(echo("127.0.0.2", port, "x"), "refused");
  EXPECT_EQ(echo("::1", port, "x"), "refused");
  EXPECT_EQ(echo("127.0.0.2", range, "x"), "x");
  EXPECT_NE(echo("127.0.0.1", static_cast<std::uint16_t>(range + 4), "x"), "refused");
  EXPECT_OK(docker({"rm", "-f", "many"}));
}

TEST_F(Ports, ThatTheEngineChoosesAreNotThoseOfThisHostsOwnConnections) {
  ASSERT_OK(detached({"--name", "any", "-p", "80"}));
  const std::string said = docker({"port", "any", "80/tcp"}).out;  // "0.0.0.0:61000", and a line for IPv6
  const int port = std::atoi(said.c_str() + said.find(':') + 1);
  const auto [first, last] = platform::connection_ports();
  EXPECT_TRUE(port > last || (port > 0 && port < first)) << said;
  EXPECT_EQ(echo("127.0.0.1", static_cast<std::uint16_t>(port), "x"), "x");
  EXPECT_OK(docker({"rm", "-f", "any"}));
}

TEST_F(Ports, CarryDatagrams) {
  const std::uint16_t port = some_port();
  // The machine's own perl, since the image has none: the machine's root may be mounted.
  ASSERT_OK(detached({"--name", "udp", "-p", std::to_string(port) + ":80/udp", "-v", "/:/guest:ro"}, udp_echo));
  EXPECT_EQ(udp_exchange("127.0.0.1", port, "hello"), "hello");
  EXPECT_EQ(udp_exchange("::1", port, "hello"), "hello");
  const std::string large(20000, 'x');
  EXPECT_EQ(udp_exchange("127.0.0.1", port, large), large);
  EXPECT_OK(docker({"rm", "-f", "udp"}));
}

TEST_F(Ports, ThatAreTakenAreToldAndOpenedWhenFree) {
  const std::uint16_t port = some_port();
  UniqueFd foreign(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(foreign.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(::listen(foreign.get(), 1), 0);
  const std::string published = "127.0.0.1:" + std::to_string(port) + ":80";
  const Result refused = detached({"--name", "refused", "-p", published});
  EXPECT_NE(refused.code, 0);
  EXPECT_NE(refused.err.find("Bind for 127.0.0.1:" + std::to_string(port) +
                             " failed: port is already allocated: " + program_name()),
            std::string::npos)
      << refused;
  EXPECT_EQ(docker({"inspect", "-f", "{{.State.Running}}", "refused"}).out, "false\n");
  EXPECT_OK(docker({"rm", "refused"}));
  ASSERT_OK(box->cl({"config", "set", "check_ports", "false"}));
  ASSERT_OK(box->cl({"apply"}));
  ASSERT_OK(detached({"--name", "late", "-p", published}));
  const auto status = box->status();
  ASSERT_TRUE(status.contains("port_problems"));
  const std::string told(status.at("port_problems").as_array().at(0).as_string());
  EXPECT_TRUE(
      told.starts_with("127.0.0.1:" + std::to_string(port) + "/tcp of late: the port is taken by " + program_name()))
      << told;
  foreign.reset();
  std::string got;
  for (int i = 0; i < 100 && got != "x"; ++i) {
    got = echo("127.0.0.1", port, "x");
    ::usleep(100'000);
  }
  EXPECT_EQ(got, "x");
  EXPECT_FALSE(box->status().contains("port_problems"));
  EXPECT_OK(docker({"rm", "-f", "late"}));
  ASSERT_OK(box->cl({"config", "unset", "check_ports"}));
  ASSERT_OK(box->cl({"apply"}));
}

TEST_F(Ports, ThatTheProfileDoesNotAllowAreRefusedWithTheSettingThatDoes) {
  const auto apply = [](const std::string& key, const std::string& value) {
    ASSERT_OK(box->cl({"config", "set", key, value}));
    ASSERT_OK(box->cl({"apply"}));
  };
  const auto expect_refused = [](const std::string& published, const std::string& why) {
    const Result refused = detached({"--name", "refused", "-p", published});
    EXPECT_NE(refused.code, 0);
    EXPECT_NE(refused.err.find(why), std::string::npos) << refused;
    EXPECT_EQ(docker({"inspect", "-f", "{{.State.Running}}", "refused"}).out, "false\n");
    EXPECT_OK(docker({"rm", "refused"}));
  };
  expect_refused("127.0.0.1:97:80", "Bind for 127.0.0.1:97 failed: ports below 1024 are not opened");
  const std::uint16_t port = some_port(), range = some_port();
  apply("network.port_limit", "3");
  const auto from = [](int first, int last) { return std::to_string(first) + "-" + std::to_string(last); };
  const Result never = detached({"--name", "refused", "-p", from(range, range + 5) + ":80-85"});
  EXPECT_EQ(never.code, 125);
  EXPECT_NE(never.err.find("6 ports are to be published, and no more than 3 are opened"), std::string::npos) << never;
  EXPECT_NE(docker({"inspect", "refused"}).code, 0) << "it is not even made";
  ASSERT_OK(detached({"--name", "two", "-p", from(range, range + 1) + ":80-81"}));
  expect_refused(from(range + 2, range + 4) + ":82-84",
                 "failed: 3 ports are published, and no more are opened (1 more of its ports neither)");
  EXPECT_EQ(echo("127.0.0.1", range + 2, "x"), "refused") << "the container was ended";
  EXPECT_OK(docker({"rm", "-f", "two"}));
  apply("network.address", "127.0.0.1");
  // An address that the machine has, or its engine would refuse it by itself.
  expect_refused("10.0.2.15:" + std::to_string(port) + ":80", "network.address is 127.0.0.1");
  if (::geteuid() == 0) {
    apply("network.low_ports", "true");
    ASSERT_OK(detached({"--name", "low", "-p", "127.0.0.1:97:80"}));
    EXPECT_EQ(echo("127.0.0.1", 97, "x"), "x");
    apply("network.low_ports", "false");
    EXPECT_EQ(echo("127.0.0.1", 97, "x"), "refused") << "it is closed while its container runs";
    EXPECT_OK(docker({"rm", "-f", "low"}));
  }
  for (const char* key : {"network.low_ports", "network.address", "network.port_limit"})
    EXPECT_OK(box->cl({"config", "unset", key}));
  ASSERT_OK(box->cl({"apply"}));
}

TEST_F(Ports, OfASwarmsServicesAreOpenedAndFollowThem) {
  const std::uint16_t port = some_port(), other = some_port();
  ASSERT_OK(docker({"swarm", "init", "--advertise-addr", "127.0.0.1"}));
  const auto service = [](std::vector<std::string> args) {
    args.insert(args.begin(), "service");
    return docker(std::move(args));
  };
  const auto answers = [](std::uint16_t number) {
    return eventually(60s, [number] { return echo("127.0.0.1", number, "x") == "x"; });
  };
  const auto closed = [](std::uint16_t number) {
    return eventually(10s, [number] { return echo("127.0.0.1", number, "x") == "refused"; });
  };
  EXPECT_OK(service({"create", "--detach", "--name", "web", "-p", std::to_string(port) + ":80", "--no-resolve-image",
                     "box", "sh", "-c", std::string(tcp_echo)}));
  EXPECT_TRUE(answers(port)) << service({"ps", "--no-trunc", "web"});
  EXPECT_OK(
      service({"update", "--detach", "--publish-rm", "80", "--publish-add", std::to_string(other) + ":80", "web"}));
  EXPECT_TRUE(closed(port));
  EXPECT_TRUE(answers(other)) << service({"ps", "--no-trunc", "web"});
  EXPECT_OK(service({"rm", "web"}));
  EXPECT_TRUE(closed(other));
  EXPECT_TRUE(eventually(60s, [] { return docker({"ps", "-aq"}).out.empty(); }));
  EXPECT_OK(docker({"swarm", "leave", "--force"}));
  EXPECT_OK(docker({"network", "rm", "docker_gwbridge"}));
}

TEST_F(Ports, AreOpenedByTheProfilesRulesWhichMayChangeWhileItRuns) {
  const std::uint16_t port = some_port(), inside = some_port(), program = some_port();
  const auto apply = [](const std::string& key, const std::string& value) {
    ASSERT_OK(box->cl({"config", "set", key, value}));
    ASSERT_OK(box->cl({"apply"}));
  };
  const auto comes = [](std::uint16_t number) {
    return eventually(30s, [&] { return echo("127.0.0.1", number, "x") == "x"; });
  };
  const auto goes = [](std::uint16_t number) {
    return eventually(30s, [&] { return echo("127.0.0.1", number, "x") == "refused"; });
  };
  ASSERT_OK(detached({"--name", "web", "-p", std::to_string(port) + ":80"}));
  apply("network.address", "127.0.0.1");
  EXPECT_EQ(echo("127.0.0.2", port, "x"), "refused");
  EXPECT_EQ(echo("127.0.0.1", port, "x"), "x");
  EXPECT_EQ(echo("::1", port, "x"), "x");
  apply("network.forward", "all");
  ASSERT_OK(detached({"--name", "inside", "--network", "host"},
                     "exec busybox nc -ll -p " + std::to_string(inside) + " -e cat"));
  EXPECT_TRUE(comes(inside));
  ASSERT_OK(box->cl({"ssh", "--",
                     "setsid busybox nc -ll -p " + std::to_string(program) +
                         " -e cat </dev/null >/dev/null 2>&1 & echo $! > /run/nc.pid"}));
  EXPECT_TRUE(comes(program));
  const Result listed = box->cl({"ports"});
  EXPECT_NE(listed.out.find("inside "), std::string::npos) << listed;
  EXPECT_NE(listed.out.find("the machine "), std::string::npos) << listed;
  EXPECT_OK(docker({"rm", "-f", "inside"}));
  EXPECT_TRUE(goes(inside));
  ASSERT_OK(box->cl({"ssh", "--", "kill $(cat /run/nc.pid)"}));
  EXPECT_TRUE(goes(program));
  // It was told, and looked for nothing by itself.
  const Result traced = box->cl({"ssh", "--", "ls /sys/kernel/tracing/instances"});
  EXPECT_TRUE(traced.out.starts_with("colima-like-")) << traced;
  apply("network.forward", "none");
  EXPECT_EQ(echo("127.0.0.1", port, "x"), "refused");
  EXPECT_TRUE(eventually(20s, [] { return box->cl({"ssh", "--", "ls /sys/kernel/tracing/instances"}).out.empty(); }))
      << "the helper has left its trace behind";
  apply("network.forward", "published");
  apply("network.address", "0.0.0.0");
  EXPECT_EQ(echo("127.0.0.2", port, "x"), "x");
  for (const char* key : {"network.forward", "network.address"}) EXPECT_OK(cl({"config", "unset", key}));
  EXPECT_OK(docker({"rm", "-f", "web"}));
}

TEST_F(Ports, OfAComposedProjectComeAndGoWithIt) {
  if (!find_program("docker-compose")) GTEST_SKIP() << "docker-compose is not installed";
  const std::uint16_t port = some_port();
  const fs::path project = box->root() / "project";
  fs::create_directory(project);
  write_atomically(project / "docker-compose.yml",
                   "version: '3'\nservices:\n  web:\n    image: box\n    command: [sh, -c, '" + std::string(tcp_echo) +
                       "']\n    ports: ['" + std::to_string(port) +
                       ":80']\n  other:\n    image: box\n    command: sleep 1000\n");
  const auto compose = [&](std::vector<std::string> args) {
    std::vector<std::string> argv{"env",
                                  "DOCKER_HOST=unix://" + box->docker_socket().string(),
                                  "docker-compose",
                                  "--project-directory",
                                  project.string(),
                                  "-f",
                                  (project / "docker-compose.yml").string()};
    argv.insert(argv.end(), args.begin(), args.end());
    return box->run(argv, {}, 300s);
  };
  ASSERT_OK(compose({"up", "-d"}));
  EXPECT_EQ(echo("127.0.0.1", port, "x"), "x");
  EXPECT_OK(compose({"down", "-t", "1"}));
  EXPECT_EQ(echo("127.0.0.1", port, "x"), "refused");
}

TEST_F(Ports, AContainerGetsTheEnginesSocketByItsPathOnTheHost) {
  const std::string path = box->docker_socket().string();
  EXPECT_OK(
      docker({"run", "--rm", "-v", path + ":/var/run/docker.sock", "box", "sh", "-c", "test -S /var/run/docker.sock"}));
}

TEST_F(Ports, AFolderThatTheMachineDoesNotSeeIsRefused) {
  const Result refused = docker({"run", "--rm", "-v", box->root().string() + ":/x", "box", "ls", "/x"});
  EXPECT_NE(refused.code, 0);
  EXPECT_NE(refused.err.find(box->root().string() + " is not shared with the machine"), std::string::npos) << refused;
  const Result mount = docker({"run", "--rm", "--mount", "type=bind,source=/home/nobody,target=/x", "box", "ls", "/x"});
  EXPECT_NE(mount.err.find("/home/nobody is not shared with the machine"), std::string::npos) << mount;
  EXPECT_OK(docker({"run", "--rm", "-v", "kept:/x", "box", "ls", "/x"}));
  EXPECT_OK(docker({"volume", "rm", "kept"}));
  ASSERT_OK(box->cl({"config", "set", "check_binds", "false"}));
  ASSERT_OK(box->cl({"apply"}));
  // What the machine has at that path is a folder of its own, which Docker makes.
  const fs::path outside = box->root() / "outside";
  fs::create_directory(outside);
  std::ofstream(outside / "file") << "of this computer\n";
  const Result empty = docker({"run", "--rm", "-v", outside.string() + ":/x", "box", "ls", "/x"});
  EXPECT_OK(empty);
  EXPECT_EQ(empty.out, "") << "the folder is shared after all: test something else";
  ASSERT_OK(box->cl({"config", "unset", "check_binds"}));
  ASSERT_OK(box->cl({"apply"}));
}

TEST_F(Ports, TheEngineIsNotReachedOverANetwork) {
  const std::string control = std::to_string(some_port());  // one port that must be found, or the scan finds nothing
  ASSERT_OK(detached({"--name", "control", "-p", control + ":80"}));
  // From a container: the machine's addresses, on the ports where an engine or an SSH server would be.
  const Result scan = docker({"run", "--rm", "box", "sh", "-c",
                              "gateway=$(busybox ip route | busybox sed -n 's/^default via \\([^ ]*\\).*/\\1/p'); "
                              "for host in $gateway 10.0.2.15; do for port in 22 2375 2376 2377 " +
                                  control +
                                  "; do "
                                  "busybox nc -w 2 $host $port </dev/null && echo $port; done; done; true"});
  EXPECT_OK(scan);
  EXPECT_EQ(scan.out, control + "\n" + control + "\n");
  EXPECT_OK(docker({"rm", "-f", "control"}));
}

TEST_F(Ports, AndSocketWorkAgainAfterTheSessionWasKilledUnderLoad) {
  const std::uint16_t port = some_port();
  ASSERT_OK(detached({"--name", "web", "-p", std::to_string(port) + ":80"}));
  // Without a log: the engine would write six bytes there for each of these zeros.
  auto load = box->start_docker(
      {"run", "--rm", "--name", "load", "--log-driver", "none", "box", "dd", "if=/dev/zero", "bs=1M", "count=200"});
  for (int i = 0; i < 600 && load->out().size() < 1'000'000; ++i) ::usleep(50'000);
  // All SSH servers at once; ours dies with them, so this command never gets its exit code.
  box->start_cl({"ssh", "--", "pkill -9 sshd; pkill -9 -f sshd-session"})->wait(60s);
  const Result cut = load->wait(120s);
  EXPECT_EQ(cut.out.find_first_not_of('\0'), std::string::npos) << "what came is corrupted";
  const Result after = docker({"ps", "--format", "{{.Names}}"});
  EXPECT_OK(after);
  EXPECT_NE(after.out.find("web"), std::string::npos) << after;
  EXPECT_EQ(echo("127.0.0.1", port, "x"), "x");
  EXPECT_EQ(box->state(), "running");
  docker({"rm", "-f", "load"});  // it may go on without its client, or be on its way out
  EXPECT_TRUE(eventually(60s, [] { return docker({"ps", "--all", "--quiet", "--filter", "name=load"}).out.empty(); }));
  EXPECT_OK(docker({"rm", "-f", "web"}));
}

TEST_F(Ports, AClientIsToldWhenTheEngineDoesNotAnswer) {
  // The machine says so by itself, too.
  auto problem = [] {
    const boost::json::object engine = box->status().at("docker").as_object();
    return engine.contains("problem") ? std::string(engine.at("problem").as_string()) : std::string();
  };
  EXPECT_EQ(problem(), "");
  ASSERT_OK(box->cl({"ssh", "--", "systemctl stop docker.socket docker.service"}));
  const Result refused = docker({"ps"});
  EXPECT_NE(refused.code, 0);
  EXPECT_NE(refused.err.find("the Docker engine in the guest cannot be reached"), std::string::npos) << refused;
  EXPECT_TRUE(eventually(10s, [&] { return problem() == "docker.service is stopped"; })) << problem();
  ASSERT_OK(box->cl({"ssh", "--", "systemctl start docker.socket docker.service"}));
  EXPECT_OK(docker({"ps"}));
  EXPECT_TRUE(eventually(10s, [&] { return problem().empty(); })) << problem();
}

}  // namespace
}  // namespace cl::e2e
