#include <boost/json.hpp>

#include "src/base/file.hpp"
#include "tests/e2e/sandbox.hpp"

// Settings that must be felt in the machine and its containers, and another runtime in a profile beside it. They build
// on each other, and share four boots.

namespace cl::e2e {
namespace {

/// Debian's docker-registry on a port of this host's loopback; with a certificate and its key it speaks TLS.
class Registry {
 public:
  Registry(Sandbox& box, int port, const std::string& certificate = "") : port_(port) {
    const std::string name = "registry" + std::to_string(port);
    boost::json::object http{{"addr", "127.0.0.1:" + std::to_string(port)}};
    if (!certificate.empty())
      http["tls"] = boost::json::object{{"certificate", certificate + ".pem"}, {"key", certificate + ".key"}};
    const boost::json::object config{{"version", "0.1"},
                                     {"storage", {{"filesystem", {{"rootdirectory", (box.root() / name).string()}}}}},
                                     {"http", http}};
    const fs::path file = box.root() / (name + ".yml");
    write_atomically(file, boost::json::serialize(config));
    program_ = box.start({"docker-registry", "serve", file.string()});
    const std::string knock = ": < /dev/tcp/127.0.0.1/" + std::to_string(port);
    EXPECT_TRUE(eventually(20s, [&] { return box.run({"bash", "-c", knock}).code == 0; })) << program_->err();
  }
  int port() const { return port_; }

 private:
  int port_;
  std::unique_ptr<Process> program_;
};

class Settings : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    box = new Sandbox;
    if (!find_program("docker-registry")) return;
    const int port = 20000 + ::getpid() % 10000;
    plain = std::make_unique<Registry>(*box, port);
    make_certificates();
    secured = std::make_unique<Registry>(*box, port + 1, box->root() / "registry");
  }
  static void TearDownTestSuite() {
    plain.reset();
    secured.reset();
    delete box;
  }
  void SetUp() override { ASSERT_TRUE(intact) << "an earlier step failed, this one stands on it"; }
  void TearDown() override { intact = intact && !HasFatalFailure(); }
  static Result cl(std::vector<std::string> args) { return box->cl(std::move(args), {}, 1200s); }
  static Result docker(std::vector<std::string> args) { return box->docker(std::move(args)); }
  static std::string guest(const std::string& command) { return cl({"ssh", "--", command}).out; }
  static std::string current_context() {
    std::string names = docker({"context", "ls", "--format", "{{if .Current}}{{.Name}}{{end}}"}).out;
    names.erase(0, names.find_first_not_of('\n'));
    return names.substr(0, names.find('\n') + 1);
  }
  /// When dockerd was started, as systemd knows it.
  static std::string dockerd() { return guest("systemctl show -p MainPID --value docker.service"); }
  /// The registry as the machine names it.
  static std::string insecure() { return "10.0.2.2:" + std::to_string(plain->port()); }
  static std::string private_one() { return "registry.test:" + std::to_string(secured->port()); }

  /// A CA of one's own, and with it a certificate for registry.test.
  static void make_certificates() {
    const std::string begin = "cd " + box->root().string() +
                              " && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 ";
    ASSERT_OK(box->run({"sh", "-c", begin + "-subj /CN=test-ca -keyout ca.key -out ca.pem"}));
    ASSERT_OK(box->run({"sh", "-c",
                        begin + "-CA ca.pem -CAkey ca.key -subj /CN=registry.test -addext basicConstraints=CA:FALSE "
                                "-addext subjectAltName=DNS:registry.test -keyout registry.key -out registry.pem"}));
  }

  static Sandbox* box;
  static std::unique_ptr<Registry> plain, secured;
  static bool intact;
};
Sandbox* Settings::box = nullptr;
std::unique_ptr<Registry> Settings::plain, Settings::secured;
bool Settings::intact = true;

TEST_F(Settings, AreAppliedToARunningMachineAndOnlyWhatDiffersRestartsDockerd) {
  ASSERT_OK(cl({"start"}));
  const std::string before = dockerd();
  ASSERT_OK(cl({"config", "set", "env", "GREETING=it's me"}));
  ASSERT_OK(cl({"config", "set", "network.hosts", "somewhere.test=10.9.8.7,registry.test=10.0.2.2"}));
  ASSERT_OK(cl({"config", "set", "provision",
                R"([{"script": "echo \"$GREETING\" >> ~/ran"},
                    {"script": "docker version > ~/version", "mode": "user", "when": "ready"}])"}));
  ASSERT_OK(cl({"apply"}));
  EXPECT_EQ(dockerd(), before) << "nothing that dockerd reads has changed";
  EXPECT_EQ(guest("echo $GREETING"), "it's me\n");
  EXPECT_NE(guest("cat /etc/hosts").find("10.9.8.7 somewhere.test\n"), std::string::npos);
  EXPECT_NE(guest("cat version").find("Server:"), std::string::npos);

  ASSERT_OK(cl({"config", "set", "docker", R"({"labels": ["kind=test"]})"}));
  ASSERT_OK(cl({"config", "set", "proxy.http", "http://localhost:9"}));
  ASSERT_OK(cl({"config", "set", "proxy.none", "10.0.2.2,registry.test"}));
  if (plain) {
    ASSERT_OK(cl({"config", "set", "registries.insecure", insecure()}));
    ASSERT_OK(cl({"config", "set", "registries.mirrors", "http://" + insecure()}));
    ASSERT_OK(cl({"config", "set", "registries.certificates", (box->root() / "ca.pem").string()}));
  }
  ASSERT_OK(cl({"apply"}));
  const std::string after = dockerd();
  EXPECT_NE(after, before);
  EXPECT_EQ(docker({"info", "--format", "{{.Labels}} {{.HTTPProxy}}"}).out, "[kind=test] http://10.0.2.2:9\n");
  EXPECT_EQ(guest("echo $http_proxy"), "http://10.0.2.2:9\n");
  box->import_busybox("proxied");
  EXPECT_EQ(docker({"run", "--rm", "proxied", "sh", "-c", "echo $http_proxy $NO_PROXY"}).out,
            "http://10.0.2.2:9 localhost,127.0.0.1,::1,host.docker.internal,10.0.2.2,registry.test\n");
  fs::create_directory(box->root() / "build");
  write_atomically(box->root() / "build" / "Dockerfile", "FROM proxied\nRUN echo at $HTTP_PROXY > /seen\n");
  ASSERT_OK(docker({"build", "--quiet", "--tag", "built", (box->root() / "build").string()}));
  EXPECT_EQ(docker({"run", "--rm", "built", "sh", "-c", "busybox cat /seen"}).out, "at http://10.0.2.2:9\n");
  ASSERT_OK(docker({"rmi", "built", "proxied"}));
  ASSERT_OK(cl({"apply"}));
  EXPECT_EQ(dockerd(), after) << "and nothing has since";
  EXPECT_EQ(guest("cat ran"), "it's me\n") << "a script runs once";
}

TEST_F(Settings, ReachRegistriesWithoutTlsByAPrivateCaAndThroughAMirror) {
  if (!plain) GTEST_SKIP() << "docker-registry is not installed";
  const std::string there = insecure() + "/library/box:1", safe = private_one() + "/box:1";
  box->import_busybox(there);
  ASSERT_OK(docker({"tag", there, safe}));
  ASSERT_OK(docker({"push", "--quiet", there}));
  ASSERT_OK(docker({"push", "--quiet", safe}));
  ASSERT_OK(docker({"rmi", there, safe}));
  ASSERT_OK(docker({"pull", "--quiet", there}));
  ASSERT_OK(docker({"pull", "--quiet", safe}));
  ASSERT_OK(docker({"rmi", there, safe}));
  ASSERT_OK(docker({"pull", "--quiet", "box:1"}));  // which is in the mirror alone
  ASSERT_OK(docker({"tag", "box:1", "box"}));
}

TEST_F(Settings, NamesOfTheHostAndOfTheProfileAreKnownInContainersOfEveryNetwork) {
  if (!plain) GTEST_SKIP() << "docker-registry is not installed";
  const std::string port = ":" + std::to_string(plain->port()) + "/v2/";
  const std::string get = "exec busybox wget -Y off -q -O - http://host.docker.internal" + port;
  const Result bridged = docker({"run", "--rm", "box", "sh", "-c", get});
  EXPECT_EQ(bridged.out, "{}") << bridged;
  ASSERT_OK(docker({"network", "create", "own"}));
  const Result own = docker({"run", "--rm", "--network", "own", "box", "sh", "-c",
                             "busybox wget -Y off -q -O - http://registry.test" + port + " && " + get});
  EXPECT_EQ(own.out, "{}{}") << own;
  EXPECT_TRUE(guest("getent hosts host.docker.internal").starts_with("10.0.2.2 "));
}

TEST_F(Settings, AScriptThatFailsIsToldAndTriedAgain) {
  ASSERT_OK(cl({"config", "set", "provision", R"([{"script": "echo oh no; exit 3"}])"}));
  for (int i = 0; i < 2; ++i) {
    const Result failed = cl({"apply"});
    EXPECT_EQ(failed.code, 5) << failed;
    EXPECT_NE(failed.err.find("oh no"), std::string::npos) << failed;
    EXPECT_NE(failed.err.find("script 1 of 'provision' ended with exit code 3"), std::string::npos) << failed;
  }
  EXPECT_EQ(box->state(), "running");
}

TEST_F(Settings, ThatGoComeToWhatWasThereBefore) {
  for (const char* key : {"env", "network.hosts", "docker", "provision", "proxy.http", "proxy.none",
                          "registries.insecure", "registries.mirrors", "registries.certificates"})
    ASSERT_OK(cl({"config", "unset", key}));
  ASSERT_OK(cl({"apply"}));
  EXPECT_EQ(guest("cat /etc/hosts").find("somewhere.test"), std::string::npos);
  EXPECT_EQ(guest("echo \"<$GREETING$http_proxy>\""), "<>\n");
  EXPECT_EQ(read_file(box->root() / "docker" / "config.json").find("proxies"), std::string::npos);
  EXPECT_EQ(guest("ls /etc/docker"), "daemon.json\n");
  EXPECT_EQ(docker({"info", "--format", "{{.Labels}}{{.HTTPProxy}}"}).out, "[]\n");
}

TEST_F(Settings, TheAgentIsThereWhenItIsAskedFor) {
  ASSERT_OK(cl({"config", "set", "ssh.agent", "true"}));
  ASSERT_OK(cl({"apply"}));
  const std::string key = (box->root() / "agent_key").string();
  ASSERT_OK(box->run({"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "agent's own", "-f", key}));
  const Result listed =
      box->run({"ssh-agent", "sh", "-c", "ssh-add -q \"$1\" && \"$0\" ssh -- 'ssh-add -l; exit 7'", program(), key});
  EXPECT_EQ(listed.code, 7) << listed;
  EXPECT_NE(listed.out.find("agent's own"), std::string::npos) << listed;
}

TEST_F(Settings, ProgramsOfTheRuntimeAreCalledInTheMachine) {
  EXPECT_OK(cl({"ctr", "--namespace", "moby", "containers", "ls"}));
  EXPECT_EQ(cl({"ctr", "containers", "info", "nobody"}).code, 1);
  const Result missing = cl({"nerdctl", "ps", "it's"});
  EXPECT_EQ(missing.code, 127) << missing;
  EXPECT_NE(missing.err.find("error: nerdctl is not in the machine\n"), std::string::npos) << missing;
}

/// A stand-in for a release of nerdctl: it tells how it was called, and a build asks for BuildKit, which does the same.
fs::path nerdctl_archive(Sandbox& sandbox) {
  const fs::path tree = sandbox.root() / "nerdctl";
  fs::create_directories(tree / "bin");
  fs::create_directories(tree / "libexec/cni");
  write_atomically(tree / "bin/nerdctl", R"(#!/bin/sh
echo "nerdctl $* in $PWD"
[ "$1" = build ] || exit 0
curl -s -m 1 --unix-socket /run/buildkit/buildkitd.sock http://buildkit/
tries=0
until [ -s /run/buildkitd-called ] || [ $tries = 200 ]; do sleep 0.1; tries=$((tries + 1)); done
cat /run/buildkitd-called
)",
                   0755);
  write_atomically(tree / "bin/buildkitd", R"(#!/bin/sh
echo "buildkitd $*" > /run/buildkitd-called
systemd-notify --ready
exec sleep 1000
)",
                   0755);
  for (const char* name : {"bin/buildctl", "bin/runc", "libexec/cni/bridge"})
    write_atomically(tree / name, "#!/bin/sh\n", 0755);
  const fs::path archive = sandbox.root() / "nerdctl-full.tar.gz";
  EXPECT_OK(sandbox.run({"tar", "-C", tree.string(), "-czf", archive.string(), "bin", "libexec"}));
  return archive;
}

/// What hands that know Colima's own integration script do, with the runtime containerd.
TEST_F(Settings, ContainerdRunsContainersAndBringsNerdctlAlong) {
  auto pod = [](std::vector<std::string> words) {
    words.insert(words.begin(), {"-p", "pod"});
    return cl(std::move(words));
  };
  ASSERT_OK(pod({"delete", "-f"}));
  const Result started =
      pod({"start", "--runtime", "containerd", "--set", "containerd.tools=" + nerdctl_archive(*box).string()});
  ASSERT_OK(started);
  EXPECT_NE(started.err.find("nerdctl-full.tar.gz is in the guest"), std::string::npos) << started;
  const auto status = box->status("pod");
  EXPECT_EQ(status.at("runtime").as_string(), "containerd");
  EXPECT_TRUE(fs::is_socket(box->profile("pod") / "containerd.sock"));
  EXPECT_FALSE(fs::exists(box->docker_socket("pod")));
  EXPECT_EQ(pod({"nerdctl", "--", "ps"}).out, "nerdctl ps in /root\n");
  EXPECT_EQ(pod({"nerdctl", "info"}).out, "nerdctl info in /root\n");
  EXPECT_NE(pod({"ssh", "--", "nslookup host.docker.internal"}).out.find("10.0.2.2"), std::string::npos);
  EXPECT_EQ(pod({"ssh", "--", "pidof -x buildkitd || echo none"}).out, "none\n") << "the first build starts it";
  const Result built = pod({"nerdctl", "build", "-t", "it's", "."});
  EXPECT_EQ(built.out, "nerdctl build -t it's . in /root\nbuildkitd --addr fd://\n") << built;
  EXPECT_NE(built.err.find("is not shared with the machine, and nerdctl runs in its /root"), std::string::npos);
  EXPECT_EQ(pod({"ssh", "--", "ls -d /usr/local/bin/* /usr/local/libexec/cni/*"}).out,
            "/usr/local/bin/buildctl\n/usr/local/bin/buildkitd\n/usr/local/bin/nerdctl\n"
            "/usr/local/libexec/cni/bridge\n")
      << "the engine is the distribution's";
  ASSERT_OK(pod({"ssh", "--", "mkdir -p /root/tree/bin && cp /bin/busybox /root/tree/bin/"}));
  const Result ran = pod(
      {"ctr", "run", "--rm", "--rootfs", "/root/tree", "one", "/bin/busybox", "sh", "-c", "echo 'it runs'; exit 7"});
  EXPECT_EQ(ran.code, 7) << ran;
  EXPECT_EQ(ran.out, "it runs\n") << ran;
}

TEST_F(Settings, AMachineMayHaveNoRuntime) {
  ASSERT_OK(cl({"config", "set", "-p", "pod", "runtime", "none"}));
  ASSERT_OK(cl({"restart", "pod"}));
  const auto status = box->status("pod");
  EXPECT_EQ(status.at("runtime").as_string(), "none");
  EXPECT_FALSE(status.contains("docker"));
  EXPECT_FALSE(fs::exists(box->docker_socket("pod")));
  EXPECT_EQ(cl({"ssh", "-p", "pod", "--", "systemctl is-active docker.service docker.socket"}).out,
            "inactive\ninactive\n");
  EXPECT_EQ(current_context(), "colima-like\n") << "there is nothing to switch to";
}

TEST_F(Settings, PodmanRunsInAProfileBesideDocker) {
  ASSERT_OK(cl({"config", "set", "-p", "pod", "runtime", "podman"}));
  ASSERT_OK(cl({"restart", "pod"}));
  EXPECT_EQ(box->status("pod").at("runtime").as_string(), "podman");
  EXPECT_EQ(current_context(), "colima-like-pod\n");
  box->import_busybox("box");
  const std::string port = std::to_string(22000 + ::getpid() % 10000);
  ASSERT_OK(docker({"run", "-d", "--name", "web", "-p", port + ":80", "box", "sh", "-c",
                    "echo hello > /tmp/index.html; exec busybox httpd -f -p 80 -h /tmp"}));
  const Result got = box->run({"busybox", "wget", "-q", "-O", "-", "http://127.0.0.1:" + port});
  EXPECT_EQ(got.out, "hello\n") << got;
  const Result named = docker({"run", "--rm", "box", "cat", "/etc/hosts"});
  EXPECT_NE(named.out.find("host.docker.internal"), std::string::npos) << named;
}

TEST_F(Settings, UseLeadsPlainDockerToTheRightEngineBackAndForth) {
  auto lands_in = [] { return docker({"run", "--rm", "--uts", "host", "box", "busybox", "hostname"}).out; };
  EXPECT_EQ(lands_in(), "colima-like-pod\n") << "it was started last";
  ASSERT_OK(cl({"use", "default"}));
  if (!plain) box->import_busybox("box");
  EXPECT_EQ(lands_in(), "colima-like\n");
  ASSERT_OK(cl({"use", "pod"}));
  EXPECT_EQ(lands_in(), "colima-like-pod\n");
  ASSERT_OK(cl({"use", "-"}));
  EXPECT_EQ(lands_in(), "colima-like\n");
  EXPECT_EQ(box->state("default"), "running");
  EXPECT_EQ(box->state("pod"), "running");
}

}  // namespace
}  // namespace cl::e2e
