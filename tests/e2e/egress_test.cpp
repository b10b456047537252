#include <sched.h>
#include <sys/mount.h>

#include <boost/json.hpp>
#include <fstream>

#include "src/base/file.hpp"
#include "tests/e2e/sandbox.hpp"

// What leaves a machine whose network is filtered, and the names of one whose network is not. This computer is a
// network name space of this program's own, and the internet another one behind a pair of interfaces; /etc/hosts has
// its names, and web servers stand at its addresses.

namespace cl::e2e {
namespace {

constexpr const char* names =
    "127.0.0.1 localhost rebind.example\n10.9.9.9 lan.example\n11.22.33.44 site.example evil.invalid\n"
    "11.22.33.45 other.example\n8.8.4.1 own.example\n8.8.4.2 neighbour.example\n";

/// A name server at 127.0.0.1: "long.example" has a text that no datagram of 512 bytes holds, and nothing else is
/// there.
constexpr const char* name_server = R"(
import socket, struct, threading
def answer(asked, by_tcp):
    end = asked.index(b'\0', 12) + 5
    is_long = asked[12:].startswith(b'\4long\7example\0') and asked[end - 3] == 16
    text = b'\xc0\x0c\0\x10\0\1\0\0\0\1' + struct.pack('>H', 1024) + (b'\xff' + b'x' * 255) * 4
    flags = 0x8180 if by_tcp and is_long else 0x8380 if is_long else 0x8183
    return struct.pack('>2sHHHHH', asked[:2], flags, 1, int(by_tcp and is_long), 0, 0) + asked[12:end] + text * (by_tcp and is_long)
udp, tcp = socket.socket(type=socket.SOCK_DGRAM), socket.socket()
for one in udp, tcp:
    one.bind(('127.0.0.1', 53))
tcp.listen()
def serve_tcp():
    while True:
        client = tcp.accept()[0]
        said = answer(client.recv(4096)[2:], True)
        client.sendall(struct.pack('>H', len(said)) + said)
        client.close()
threading.Thread(target=serve_tcp, daemon=True).start()
while True:
    asked, who = udp.recvfrom(4096)
    udp.sendto(answer(asked, False), who)
)";

/// $1: a process in the name space of the internet. This computer has 8.8.4.1, in a network of the internet's
/// addresses.
constexpr const char* make_way = R"(set -e
ip link set lo up
ip link add inner type veth peer name outer
ip link set outer netns "$1"
ip addr add 8.8.4.1/24 dev inner
ip link set inner up
ip route add default via 8.8.4.2
nsenter -t "$1" -n sh -ec '
  ip link set lo up
  ip addr add 8.8.4.2/24 dev outer
  ip link set outer up
  ip addr add 11.22.33.44/32 dev lo
  ip addr add 11.22.33.45/32 dev lo'
)";

class Egress : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    box = std::make_unique<Sandbox>();
    ASSERT_OK(box->cl({"image", "build"}, {}, 1800s));  // while there is another internet
    hosts = box->root() / "hosts";
    write_atomically(hosts, names);
    const fs::path servers_file = box->root() / "resolv.conf";
    write_atomically(servers_file, "nameserver 127.0.0.1\n");
    if (::unshare(CLONE_NEWNET | CLONE_NEWNS) != 0) return;
    if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return;
    if (::mount(hosts.c_str(), "/etc/hosts", nullptr, MS_BIND, nullptr) != 0) return;
    if (::mount(servers_file.c_str(), "/etc/resolv.conf", nullptr, MS_BIND, nullptr) != 0) return;
    servers.push_back(box->start({"unshare", "--net", "sleep", "3600"}));
    internet = std::to_string(servers.back()->pid());
    const auto self = fs::read_symlink("/proc/self/ns/net");
    for (std::error_code gone; fs::read_symlink("/proc/" + internet + "/ns/net", gone) == self;)
      std::this_thread::sleep_for(10ms);
    if (box->run({"sh", "-c", make_way, "sh", internet}).code != 0) return;
    there_is_one = true;
    servers.push_back(box->start({"python3", "-c", name_server}));
    folder = box->root() / "site";
    fs::create_directory(folder);
    write_atomically(folder / "index.html", "hello\n");
    for (const char* port : {"80", "8080"}) {
      serve({"nsenter", "-t", internet, "-n"}, port);
      serve({}, port);  // this computer's own
    }
  }
  static void TearDownTestSuite() {
    servers.clear();
    box.reset();
  }
  static void serve(std::vector<std::string> where, const std::string& port) {
    for (const char* word : {"busybox", "httpd", "-f", "-p"}) where.emplace_back(word);
    for (const std::string& word : {port, std::string("-h"), folder.string()}) where.push_back(word);
    servers.push_back(box->start(where));
  }
  void SetUp() override {
    if (!there_is_one) GTEST_SKIP() << "no network name space can be made here";
  }
  /// What curl in the machine says, with `arguments`.
  static std::string get(const std::string& arguments) {
    return box->cl({"ssh", "--", "curl -s -m 10 " + arguments + " || echo failed"}).out;
  }

  inline static std::unique_ptr<Sandbox> box;
  inline static std::vector<std::unique_ptr<Process>> servers;
  inline static fs::path folder, hosts;
  inline static std::string internet;
  inline static bool there_is_one = false;
};

TEST_F(Egress, WhatIsListedIsReachedAndNothingElse) {
  ASSERT_OK(
      box->cl({"start", "--set", "network.egress=site.example:80,*.example:8080", "--set", "network.host_access=none"},
              {}, boot_limit));
  EXPECT_EQ(get("http://site.example/index.html"), "hello\n");
  EXPECT_EQ(get("http://other.example:8080/index.html"), "hello\n") << "by a pattern";
  for (const char* refused :
       {"http://site.example:22/",                                   // an allowed host's other port
        "http://other.example/index.html",                           // a host that has another port allowed
        "http://evil.invalid/index.html",                            // a name that is not listed
        "http://11.22.33.44/index.html",                             // its address, known from elsewhere
        "http://11.22.33.45:8080/index.html",                        // that of an allowed name
        "http://rebind.example:8080/index.html",                     // a name that leads to this computer
        "http://lan.example:8080/index.html",                        // or into its network
        "http://own.example:8080/index.html",                        // also by an address of the internet
        "http://neighbour.example:8080/index.html",                  // and to who is in the same network
        "http://host.docker.internal:8080/index.html",               // this computer itself
        "http://169.254.169.254/latest/meta-data",                   // a cloud's metadata
        "'http://[::ffff:11.22.33.44]/index.html'",                  // by IPv6
        "-H 'Host: evil.invalid' http://site.example/index.html",    // another site of an allowed server
        "-x http://site.example:80 http://evil.invalid/index.html",  // an allowed server as a proxy
        "-p -x http://site.example:80 http://evil.invalid:22/",      // and as one for tunnels
        "-k --connect-to evil.invalid:443:site.example:80 https://evil.invalid/"})  // by TLS
    EXPECT_EQ(get(refused), "failed\n") << refused;
  EXPECT_EQ(box->cl({"ssh", "--", "echo x > /dev/udp/11.22.33.44/443 2>&1 && echo sent; true"}).out, "");

  box->import_busybox("box");
  const std::string request = "(echo 'GET /index.html HTTP/1.0'; echo 'Host: site.example'; echo; sleep 2) | nc -w 5 ";
  auto contained = [&](const std::string& command) {
    return box->docker({"run", "--rm", "box", "sh", "-c", command}).out;
  };
  EXPECT_NE(contained("a=$(nslookup site.example | grep -o '198.1[89].[0-9.]*' | head -n 1); " + request + "$a 80")
                .find("hello"),
            std::string::npos);
  EXPECT_EQ(contained(request + "11.22.33.44 80").find("hello"), std::string::npos);

  const auto refusals = boost::json::serialize(box->status().at("refused"));
  for (const char* told : {"11.22.33.44:80 is not in network.egress", "the name evil.invalid is not in network.egress",
                           "site.example:22 is not in network.egress", "leads to this computer or its network",
                           "goes to evil.invalid", "port 8080 of this computer is not in network.host_access"})
    EXPECT_NE(refusals.find(told), std::string::npos) << told << refusals;
}

TEST_F(Egress, WhatIsRefusedIsToldWhateverItIsCalled) {
  ASSERT_EQ(box->state(), "running");
  EXPECT_EQ(get("-H \"Host: $(printf '\\377\\033[2J')\" http://site.example/index.html"), "failed\n");
  const Result told = box->run({"timeout", "5", program(), "events"});
  EXPECT_EQ(told.code, 124) << told;
  EXPECT_NE(told.out.find("refused"), std::string::npos) << told;
  EXPECT_EQ(told.out.find('\033'), std::string::npos) << told;
}

TEST_F(Egress, TheMachinesRootCannotLiftIt) {
  ASSERT_EQ(box->state(), "running");
  ASSERT_OK(box->cl({"ssh", "--",
                     "iptables -t nat -F; iptables -F; busybox ip route replace default via 10.0.2.2; "
                     "echo 'nameserver 10.0.2.3' > /etc/resolv.conf; echo '11.22.33.44 evil.invalid' >> /etc/hosts"}));
  for (const char* refused : {"http://11.22.33.44/index.html", "http://10.0.2.2:8080/index.html",
                              "http://evil.invalid/index.html", "http://site.example/index.html"})
    EXPECT_EQ(get(refused), "failed\n") << refused;
  const Result by_udp =
      box->cl({"ssh", "--", "timeout 5 busybox nslookup site.example 10.0.2.3 | grep -c 11.22; true"});
  EXPECT_EQ(by_udp.out, "0\n") << by_udp;
}

TEST_F(Egress, GoesOnAfterASuspendAndAnotherDaemon) {
  ASSERT_OK(box->cl({"config", "set", "network.egress", "site.example:80"}));
  ASSERT_OK(box->cl({"restart"}, {}, boot_limit));
  ASSERT_OK(box->cl({"suspend"}));
  ASSERT_OK(box->cl({"start"}, {}, boot_limit));
  EXPECT_EQ(get("http://site.example/index.html"), "hello\n");
  box->kill_daemons();
  ASSERT_OK(box->cl({"start"}, {}, boot_limit));
  EXPECT_EQ(get("http://site.example/index.html"), "hello\n");
  EXPECT_EQ(get("http://other.example/index.html"), "failed\n");
}

TEST_F(Egress, AMachineThatBootsInsteadOfResumingHasItsOwnList) {
  ASSERT_OK(box->cl({"suspend"}));
  ASSERT_OK(box->cl({"config", "set", "network.egress", "other.example:80"}));
  fs::last_write_time(box->profile() / "root.qcow2", fs::file_time_type::clock::now());
  const Result started = box->cl({"start"}, {}, boot_limit);
  ASSERT_OK(started);
  EXPECT_NE((started.out + started.err).find("not resumed but booted"), std::string::npos) << started;
  EXPECT_EQ(get("http://other.example/index.html"), "hello\n");
  EXPECT_EQ(get("http://site.example/index.html"), "failed\n");
}

TEST_F(Egress, WithoutANetworkCardDockerAndPublishedPortsWork) {
  ASSERT_OK(box->cl({"stop"}));
  ASSERT_OK(box->cl({"start", "--set", "network.egress=none"}, {}, boot_limit));
  EXPECT_EQ(box->cl({"ssh", "--", "ls /sys/class/net | grep -c '^e'; true"}).out, "0\n");
  const std::string port = std::to_string(24000 + ::getpid() % 8000);
  ASSERT_OK(box->docker({"run", "-d", "--name", "web", "-p", port + ":80", "box", "sh", "-c",
                         "mkdir /w; echo inside > /w/index.html; exec httpd -f -p 80 -h /w"}));
  EXPECT_EQ(box->run({"busybox", "wget", "-qO-", "http://127.0.0.1:" + port + "/index.html"}).out, "inside\n");
  ASSERT_OK(box->docker({"rm", "-f", "web"}));
}

TEST_F(Egress, NamesOfAMachineThatIsNotFilteredAreThoseOfThisComputer) {
  ASSERT_OK(box->cl({"stop"}));
  ASSERT_OK(box->cl({"start", "open"}, {}, boot_limit));
  auto in_guest = [&](const std::string& command) { return box->cl({"-p", "open", "ssh", "--", command}).out; };
  auto curl = [&](const std::string& url) { return in_guest("curl -s -m 10 " + url + " || echo failed"); };
  EXPECT_EQ(curl("http://site.example/index.html"), "hello\n");
  EXPECT_EQ(curl("http://rebind.example:8080/index.html"), "hello\n") << "this computer's 127.0.0.1";
  EXPECT_EQ(curl("http://nobody.example/index.html"), "failed\n");
  std::ofstream(hosts, std::ios::app) << "11.22.33.45 new.example\n";
  EXPECT_EQ(curl("http://new.example/index.html"), "hello\n") << "as it is now";

  const std::string asks =
      "\\000\\035ID\\001\\000\\000\\001\\000\\000\\000\\000\\000\\000\\004long\\007example\\000\\000\\020\\000\\001";
  EXPECT_NE(in_guest("busybox nslookup -type=txt long.example 127.0.0.154 2>&1"), "") << "is told to ask by TCP";
  EXPECT_EQ(
      in_guest("exec 3<>/dev/tcp/127.0.0.154/53; printf '" + asks + "' >&3; timeout 10 cat <&3 | tr -cd x | wc -c"),
      "1021\n")
      << "four texts of 255, and the x of the name";

  const std::string socket = "unix://" + (box->profile("open") / "docker.sock").string();
  ASSERT_OK(box->run({"sh", "-c",
                      "cd '" + folder.string() +
                          "' && mkdir -p bin && cp \"$(command -v busybox)\" bin/ && tar c bin | docker -H " + socket +
                          " import - box"}));
  auto contained = [&](const std::string& name) {
    return box->run({"docker", "-H", socket, "run", "--rm", "box", "/bin/busybox", "nslookup", name}, {}, 60s).out;
  };
  EXPECT_NE(contained("lan.example").find("10.9.9.9"), std::string::npos);
  box->kill_daemons();
  EXPECT_NE(in_guest("true; nslookup lan.example").find("10.9.9.9"), std::string::npos) << "by the next daemon";
  EXPECT_NE(contained("own.example").find("8.8.4.1"), std::string::npos);
  ASSERT_OK(box->cl({"delete", "open", "--data", "--force"}));
}

}  // namespace
}  // namespace cl::e2e
