#include <sched.h>
#include <sys/mount.h>

#include <boost/json.hpp>

#include "src/base/file.hpp"
#include "tests/e2e/sandbox.hpp"

// What leaves a machine whose network is filtered. This computer is a network name space of this program's own, and the
// internet another one behind a pair of interfaces; /etc/hosts has its names, and web servers stand at its addresses.

namespace cl::e2e {
namespace {

constexpr const char* names =
    "127.0.0.1 localhost rebind.example\n10.9.9.9 lan.example\n11.22.33.44 site.example evil.invalid\n"
    "11.22.33.45 other.example\n8.8.4.1 own.example\n8.8.4.2 neighbour.example\n";

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
    const fs::path hosts = box->root() / "hosts";
    write_atomically(hosts, names);
    if (::unshare(CLONE_NEWNET | CLONE_NEWNS) != 0) return;
    if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return;
    if (::mount(hosts.c_str(), "/etc/hosts", nullptr, MS_BIND, nullptr) != 0) return;
    servers.push_back(box->start({"unshare", "--net", "sleep", "3600"}));
    internet = std::to_string(servers.back()->pid());
    const auto self = fs::read_symlink("/proc/self/ns/net");
    for (std::error_code gone; fs::read_symlink("/proc/" + internet + "/ns/net", gone) == self;)
      std::this_thread::sleep_for(10ms);
    if (box->run({"sh", "-c", make_way, "sh", internet}).code != 0) return;
    there_is_one = true;
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
  inline static fs::path folder;
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

}  // namespace
}  // namespace cl::e2e
