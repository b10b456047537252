#include <sched.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "src/base/file.hpp"
#include "tests/e2e/sandbox.hpp"

// Engines on hosts that ssh reaches. The hosts are name spaces of this computer (tests/support/host_lab.sh), and so is
// the network that leads to them: the programs of this test live in one of its own.

namespace cl::e2e {
namespace {

/// Why there can be no such host here; empty when it can be tried.
std::string no_hosts() {
#ifndef __linux__
  return "hosts are name spaces of Linux";
#else
  if (::geteuid() != 0) return "only root can make a host of name spaces";
  for (const char* name : {"dockerd", "containerd", "runc", "docker", "sshd", "ip", "useradd", "busybox"})
    if (!find_program(name)) return std::string(name) + " is not installed";
  return {};
#endif
}

/// A host, as long as the object lives.
class Lab {
 public:
  Lab(Sandbox& box, const std::string& docker) : box_(box), dir_(box.root() / "lab") {
    fs::remove_all(dir_);
    fs::create_directories(dir_);
    fs::create_directories(box.root() / "bin");
    write_atomically(box.root() / "bin" / "ssh", "#!/bin/sh\necho ssh >> " + log().string() +
                                                     "\nexec /usr/bin/ssh -F " + (dir_ / "ssh_config").string() +
                                                     " \"$@\"\n");
    fs::permissions(box.root() / "bin" / "ssh", fs::perms::owner_all);
    box.set("PATH=" + (box.root() / "bin").string() + ":" + std::getenv("PATH"));
    process_ = box.start({"env", std::string("COLIMA_LIKE_LAB_SUDO=") + COLIMA_LIKE_LAB_SUDO, "sh",
                          COLIMA_LIKE_HOST_LAB, dir_.string(), docker});
    ready = eventually(30s, [this] { return process_->out().find("ready") != std::string::npos; });
  }
  ~Lab() { process_->wait(20s); }

  fs::path log() const { return box_.root() / "ssh.log"; }
  /// How often ssh was begun.
  std::size_t connections() const {
    const std::string text = read_file_if_exists(log()).value_or("");
    return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
  }
  /// By ssh and not by us.
  std::string on(const std::string& who, const std::string& command) {
    return box_.run({"/usr/bin/ssh", "-F", (dir_ / "ssh_config").string(), who, command}).out;
  }
  std::string changes() const { return read_file_if_exists(dir_ / "changes").value_or(""); }
  void link(const std::string& how) { ASSERT_OK(box_.run({"ip", "link", "set", "lab0", how})); }
  std::string errors() const { return process_->out() + process_->err(); }

  bool ready = false;

 private:
  Sandbox& box_;
  fs::path dir_;
  std::unique_ptr<Process> process_;
};

class Hosts : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string why = no_hosts();
    if (!why.empty()) GTEST_SKIP() << why;
    static const bool apart = ::unshare(CLONE_NEWNET) == 0;
    if (!apart) GTEST_SKIP() << "this kernel gives us no network name space";
  }
  void make(const std::string& docker) {
    lab = std::make_unique<Lab>(box, docker);
    ASSERT_TRUE(lab->ready) << lab->errors();
  }
  void TearDown() override {
    if (lab) box.cl({"stop", "big"});
    lab.reset();
  }
  Result docker(const std::vector<std::string>& words) {
    std::vector<std::string> all{"-H", "unix://" + box.docker_socket("big").string()};
    all.insert(all.end(), words.begin(), words.end());
    return box.docker(all);
  }
  void import_busybox() {
    const fs::path tree = box.busybox_tree();
    ASSERT_OK(box.run({"sh", "-c",
                       "tar -C " + tree.string() + " -c . | docker -H unix://" + box.docker_socket("big").string() +
                           " import - box"}));
  }

  Sandbox box;
  std::unique_ptr<Lab> lab;
};

TEST_F(Hosts, AreEnginesLikeAnyOther) {
  ASSERT_NO_FATAL_FAILURE(make("with-docker"));
  const std::string before = lab->on("lab", "docker info --format '{{.Name}}'; ls -A /var/lib /root /etc | sort");
  const Result started = box.cl({"start", "big", "--host", "ssh://root@lab"});
  ASSERT_OK(started);
  EXPECT_EQ(box.state("big"), "running");
  ASSERT_NO_FATAL_FAILURE(import_busybox());

  EXPECT_EQ(docker({"info", "--format", "{{.Name}}"}).out, "lab\n");
  EXPECT_EQ(docker({"run", "--rm", "box", "echo", "hello"}).out, "hello\n");
  EXPECT_EQ(box.docker({"context", "show"}).out, "colima-like-big\n");
  EXPECT_NE(box.cl({"env", "big"}).out.find(box.docker_socket("big").string()), std::string::npos);
  EXPECT_NE(box.cl({"list"}).out.find("docker on ssh://root@lab"), std::string::npos);
  EXPECT_NE(box.cl({"status", "big"}).out.find("host     ssh://root@lab, x86_64"), std::string::npos);

  EXPECT_EQ(box.cl({"ssh", "-p", "big", "--", "hostname; exit 3"}).out, "lab\n");
  EXPECT_EQ(box.cl({"ssh", "-p", "big", "--", "exit 3"}).code, 3);
  EXPECT_EQ(box.cl({"ssh", "-p", "big", "--", "cat"}, "through").out, "through");
  const std::string noise = [] {
    std::string bytes(3 << 20, '\0');
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 2654435761U >> 13U);
    return bytes;
  }();
  std::ofstream(box.root() / "noise", std::ios::binary) << noise;
  ASSERT_OK(box.cl({"cp", (box.root() / "noise").string(), "big:/run/"}));
  ASSERT_OK(box.cl({"cp", "big:/run/noise", (box.root() / "back").string()}));
  EXPECT_TRUE(read_file(box.root() / "back") == noise);
  EXPECT_OK(box.cl({"df", "big"}));
  EXPECT_OK(box.cl({"top", "big", "--once"}));
  EXPECT_NE(box.cl({"doctor", "big"}).out.find("profile big"), std::string::npos);

  // Two clients and an event stream, and still one ssh.
  const auto events = box.start_docker({"-H", "unix://" + box.docker_socket("big").string(), "events"});
  EXPECT_OK(docker({"ps"}));
  EXPECT_EQ(lab->connections(), 1U);
  EXPECT_EQ(lab->on("lab", "docker info --format '{{.Name}}'; ls -A /var/lib /root /etc | sort | grep -v -x .cache"),
            before)
      << "something was changed there";

  EXPECT_EQ(lab->on("lab", "grep -c ':0035 ' /proc/net/udp; true"), "0\n") << "a host's names are its own";

  EXPECT_EQ(box.cl({"suspend", "big"}).code, 2);
  EXPECT_EQ(box.cl({"start", "big", "--memory", "1GiB"}).code, 2);
  ASSERT_OK(box.cl({"delete", "big", "--force", "--data"}));
  EXPECT_EQ(lab->on("lab", "ls -A /root/.cache; docker image ls -q | wc -l"), "1\n") << "what was there before stays";
}

TEST_F(Hosts, HavePublishedPortsOnBothLoopbacksAlone) {
  ASSERT_NO_FATAL_FAILURE(make("with-docker"));
  ASSERT_OK(box.cl({"start", "big", "--host", "lab"}));
  ASSERT_NO_FATAL_FAILURE(import_busybox());
  const std::string serve = "mkdir -p /www; hostname > /www/name; exec httpd -f -p 80 -h /www";
  ASSERT_OK(docker({"run", "-d", "--name", "web", "-h", "web", "-p", "18080:80", "box", "sh", "-c", serve}));
  // At once: the port was open before `docker run` returned.
  EXPECT_EQ(box.run({"busybox", "wget", "-q", "-O", "-", "http://127.0.0.1:18080/name"}).out, "web\n");
  EXPECT_EQ(lab->on("lab", "busybox wget -q -O - http://127.0.0.1:18080/name"), "web\n");
  EXPECT_NE(box.run({"busybox", "wget", "-q", "-T", "2", "-O", "-", "http://10.77.0.2:18080/name"}).code, 0);
  expect_error(box.cl({"ssh-config", "big"}), 2, {"plain ssh reaches", "ssh lab"});
  const Result all = docker({"run", "-d", "-P", "--expose", "80", "box", "true"});
  EXPECT_NE(all.err.find("a container with -P would open its ports to the network of the host"), std::string::npos)
      << all;
  const Result mount = docker({"run", "--rm", "-v", box.root().string() + ":/x", "box", "true"});
  EXPECT_NE(mount.code, 0) << mount;
  ASSERT_OK(docker({"rm", "-f", "web"}));
}

TEST_F(Hosts, AreReachedAgainAndTheirContainersNoticeNothing) {
  ASSERT_NO_FATAL_FAILURE(make("with-docker"));
  ASSERT_OK(box.cl({"start", "big", "--host", "lab"}));
  ASSERT_NO_FATAL_FAILURE(import_busybox());
  ASSERT_OK(docker({"run", "-d", "--name", "lives", "box", "sleep", "1000"}));
  const std::string since = docker({"inspect", "--format", "{{.State.StartedAt}}", "lives"}).out;

  // The connection breaks.
  lab->on("lab", "pkill -f colima-like/agent");
  EXPECT_TRUE(eventually(10s, [&] { return lab->connections() >= 2 && docker({"ps"}).code == 0; }));
  // The daemon dies.
  for (const pid_t daemon : box.daemons()) ::kill(daemon, SIGKILL);
  EXPECT_TRUE(eventually(20s, [&] { return box.state("big") == "running" && docker({"ps"}).code == 0; }));
  // The network is gone until ssh has noticed.
  lab->link("down");
  EXPECT_TRUE(eventually(40s, [&] { return box.state("big") == "degraded"; }));
  lab->link("up");
  const auto back = std::chrono::steady_clock::now();
  EXPECT_TRUE(eventually(10s, [&] { return box.state("big") == "running"; }));
  std::cout << "reached again after "
            << std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - back).count()
            << " ms\n";
  EXPECT_EQ(docker({"inspect", "--format", "{{.State.StartedAt}}", "lives"}).out, since);
  // No agent of a connection that is dead is left.
  EXPECT_EQ(lab->on("lab", "pgrep -fc '[c]olima-like/agent/[0-9a-f]* --stdio'"), "1\n");
  ASSERT_OK(docker({"rm", "-f", "lives"}));
}

TEST_F(Hosts, GetDockerWhenThatIsAgreedToAndGiveItBack) {
  ASSERT_NO_FATAL_FAILURE(make("without-docker"));
  const Result asked = box.cl({"start", "big", "--host", "worker"});
  expect_error(asked, 4,
               {"something has to be changed on worker", "install Docker on worker by apt-get",
                "make worker a member of the group docker", "'colima-like start --yes'"});
  EXPECT_EQ(lab->changes(), "") << "before anybody has agreed";
  EXPECT_EQ(box.state("big"), "stopped");

  ASSERT_OK(box.cl({"start", "big", "--yes"}));
  EXPECT_EQ(docker({"info", "--format", "{{.Name}}"}).out, "lab\n");
  EXPECT_EQ(lab->on("lab", "cat /var/lib/colima-like-host/record"),
            "package docker.io\npackage containerd\nservice docker.service\nmember worker\n");
  EXPECT_NE(lab->changes().find("apt-get -q -y install --no-install-recommends docker.io"), std::string::npos);

  const Result deleted = box.cl({"delete", "big", "--force"});
  ASSERT_OK(deleted);
  EXPECT_NE(deleted.err.find("Docker's data in /var/lib/docker"), std::string::npos) << deleted;
  EXPECT_NE(lab->changes().find("apt-get -q -y remove docker.io containerd"), std::string::npos) << lab->changes();
  EXPECT_EQ(lab->on("worker", "ls -d /var/lib/colima-like-host ~/.cache/colima-like 2>/dev/null; id -nG"), "worker\n");
}

TEST_F(Hosts, SayWhatIsWrongByName) {
  ASSERT_NO_FATAL_FAILURE(make("without-docker"));
  auto start = [this](const std::string& host) {
    const Result result = box.cl({"start", "big", "--host", host});
    EXPECT_OK(box.cl({"delete", "big", "--force"}));
    return result;
  };
  expect_error(start("stranger"), 4,
               {"the key of stranger is not known", "Host key verification failed", "ssh stranger"});
  expect_error(start("closed"), 4, {"closed lets nobody in without a question", "Permission denied"});
  expect_error(start("nobody-special"), 4, {"nobody-special may not install Docker on nobody-special"});
  expect_error(start("no.such.host.invalid"), 4, {"there is no host no.such.host.invalid"});
  expect_error(start("-oProxyCommand=touch /tmp/x"), 2, {"must be a name of ~/.ssh/config"});
}

}  // namespace
}  // namespace cl::e2e
