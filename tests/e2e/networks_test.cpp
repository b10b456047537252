#include "src/base/file.hpp"
#include "tests/e2e/sandbox.hpp"

// A machine whose networks this computer has as well, and how it is moved out of their way.

namespace cl::e2e {
namespace {

/// As /proc/net/route: a VPN that has 10.0.0.0/8 and 172.16.0.0/12.
constexpr const char* routes_of_a_vpn =
    "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
    "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
    "tun0\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n"
    "tun0\t000010AC\t00000000\t0001\t0\t0\t0\t0000F0FF\t0\t0\t0\n";

TEST(Networks, ThatClashAreToldAndMoved) {
  Sandbox box;
  const fs::path routes = box.root() / "routes";
  write_atomically(routes, routes_of_a_vpn);
  box.set("COLIMA_LIKE_ROUTES=" + routes.string());
  const Result looked = box.cl({"doctor"});
  EXPECT_NE(looked.out.find("config set network.guest_subnet 192.168.127.0/24"), std::string::npos) << looked;
  ASSERT_OK(box.cl({"config", "set", "network.guest_subnet", "192.168.127.0/24"}));
  ASSERT_OK(box.cl({"config", "set", "network.docker_subnet", "10.201.0.0/16"}));  // the VPN has that too

  const Result started = box.cl({"start"}, {}, 1800s);
  ASSERT_OK(started);
  const std::string said = started.out + started.err;
  EXPECT_NE(said.find("this computer reaches 10.0.0.0/8 by tun0"), std::string::npos) << started;
  EXPECT_EQ(said.find("config set network.guest_subnet"), std::string::npos) << started;
  EXPECT_NE(said.find("config set network.docker_subnet 192.168.208.0/20"), std::string::npos) << started;

  auto guest = [&box](const std::string& command) { return box.cl({"ssh", "--", command}).out; };
  EXPECT_NE(guest("cat /proc/net/fib_trie").find("192.168.127.15"), std::string::npos);
  EXPECT_TRUE(guest("getent hosts host.docker.internal").starts_with("192.168.127.2 "));
  EXPECT_NE(guest("cat /etc/resolv.conf").find("nameserver 192.168.127.3\n"), std::string::npos);
  EXPECT_EQ(guest("cut -f2 /proc/net/route | grep -c -e 0011AC -e 02000A; true"), "0\n");

  box.import_busybox("box");
  const std::string subnet = "{{(index .IPAM.Config 0).Subnet}}";
  EXPECT_EQ(box.docker({"network", "inspect", "--format", subnet, "bridge"}).out, "10.201.0.0/24\n");
  ASSERT_OK(box.docker({"network", "create", "own"}));
  EXPECT_EQ(box.docker({"network", "inspect", "--format", subnet, "own"}).out, "10.201.1.0/24\n");

  const std::string port = std::to_string(24000 + ::getpid() % 8000);
  write_atomically(box.root() / "index.html", "hello\n");
  const auto server = box.start({"busybox", "httpd", "-f", "-p", "127.0.0.1:" + port, "-h", box.root().string()});
  for (const char* network : {"bridge", "own"}) {
    const Result got = box.docker({"run", "--rm", "--network", network, "box", "busybox", "wget", "-q", "-O", "-",
                                   "http://host.docker.internal:" + port + "/index.html"});
    EXPECT_EQ(got.out, "hello\n") << network << got;
  }

  ASSERT_OK(box.cl({"config", "set", "network.docker_subnet", "192.168.208.0/20"}));
  EXPECT_NE(box.cl({"doctor"}).out.find("hide none that this host reaches"), std::string::npos);
}

}  // namespace
}  // namespace cl::e2e
