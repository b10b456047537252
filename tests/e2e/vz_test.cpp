#include <signal.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <fstream>
#include <thread>

#include "src/base/file.hpp"
#include "src/base/host.hpp"
#include "tests/e2e/sandbox.hpp"

// The vz driver from `start` to `docker run`, with the stand-in for vfkit (tests/fakes/fake_vfkit.py), which the
// product does not know from the real one. First without a guest, for what goes wrong; then one machine under QEMU
// behind the stand-in.

namespace cl::e2e {
namespace {

void use_stand_in(Sandbox& box, const std::string& guest) {
  const fs::path vfkit = box.root() / "vfkit";
  std::ofstream(vfkit) << "#!/bin/sh\nexec " COLIMA_LIKE_FAKE_VFKIT " \"$@\"\n";
  fs::permissions(vfkit, fs::perms::owner_all);
  box.set("COLIMA_LIKE_VFKIT=" + vfkit.string());
  box.set("COLIMA_LIKE_FAKE_GUEST=" + guest);
  ASSERT_OK(box.cl({"config", "set", "vm.driver", "vz"}));
}

pid_t machine_pid(Sandbox& box) {
  const auto state = boost::json::parse(read_file(box.profile() / "state.json"));
  return state.at("machine_pid").to_number<pid_t>();
}

class VzStandIn : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "the stand-in's sshd lets root in, which only root can start";
    ASSERT_NO_FATAL_FAILURE(use_stand_in(box, "sshd"));
    ASSERT_OK(box.cl({"config", "set", "runtime", "none"}));  // there is no engine
  }
  void faults(const std::string& list) { box.set("COLIMA_LIKE_FAKE_FAULTS=" + list); }
  Result start() { return box.cl({"start"}, {}, 1800s); }  // builds the image when there is none

  Sandbox box;
};

TEST_F(VzStandIn, IsStartedPausedTakenOverAndStopped) {
  ASSERT_OK(start());
  EXPECT_EQ(box.status().at("driver").as_string(), "vz");
  EXPECT_EQ(box.status().at("accel").as_string(), "hvf");
  EXPECT_FALSE(fs::exists(box.profile() / "root.qcow2"));
  EXPECT_TRUE(fs::exists(box.profile() / "root.raw"));
  const pid_t machine = machine_pid(box);
  EXPECT_TRUE(alive(machine));

  const Result paused = box.cl({"suspend"});
  ASSERT_OK(paused);
  EXPECT_NE(paused.out.find("its memory stays in use: vfkit cannot save"), std::string::npos) << paused;
  EXPECT_EQ(box.state(), "suspended");
  EXPECT_OK(box.cl({"ssh", "--", "true"}));  // a use wakes it
  EXPECT_EQ(box.state(), "running");

  ASSERT_OK(box.cl({"suspend"}));
  box.kill_daemons();
  ASSERT_OK(box.cl({"start"}));  // another daemon takes the paused machine over
  EXPECT_EQ(machine_pid(box), machine);
  EXPECT_OK(box.cl({"ssh", "--", "true"}));

  ASSERT_OK(box.cl({"stop"}));
  EXPECT_FALSE(alive(machine));
  EXPECT_EQ(box.state(), "stopped");
  ASSERT_OK(box.cl({"start"}));
  EXPECT_OK(box.cl({"ssh", "--", "true"}));
}

TEST_F(VzStandIn, ThatIgnoresItsPowerButtonIsPoweredOffOverSsh) {
  faults("ignore-stop,sigterm-hang,lost-close");
  ASSERT_OK(start());
  const pid_t machine = machine_pid(box);
  const Result stopped = box.cl({"stop"}, {}, 150s);
  ASSERT_OK(stopped);
  EXPECT_FALSE(alive(machine));
}

TEST_F(VzStandIn, ThatIsKilledIsBootedAgain) {
  ASSERT_OK(start());
  ::kill(machine_pid(box), SIGKILL);
  EXPECT_TRUE(eventually(10s, [this] { return box.state() == "stopped"; })) << box.state();
  ASSERT_OK(box.cl({"start"}));
  EXPECT_OK(box.cl({"ssh", "--", "true"}));
}

TEST_F(VzStandIn, ThatCannotStartSaysWhy) {
  faults("exit-at-start");
  expect_error(start(), 1,
               {"vfkit did not start", "exit code 1", "invalid virtual machine configuration", "vfkit.log"});
  faults("old");
  expect_error(start(), 4, {"is vfkit 0.6.1, but 0.6.2 or newer is needed", "brew upgrade vfkit"});
  box.set("COLIMA_LIKE_VFKIT=" + (box.root() / "nowhere").string());
  faults("");
  expect_error(start(), 4, {"vfkit, which runs vz machines, is not installed", "brew install vfkit"});
  EXPECT_EQ(box.state(), "stopped");
}

TEST_F(VzStandIn, IsRefusedWhereItCannotBe) {
  const std::string foreign = host_facts().arch == "x86_64" ? "aarch64" : "x86_64";
  expect_error(box.cl({"start", "--set", "arch=" + foreign}), 2,
               {"vz runs only", "vm.driver qemu", "arch: host", "--platform"});
  box.set("COLIMA_LIKE_VFKIT");
  expect_error(box.cl({"start"}), 2, {"vz is Apple's Virtualization framework, only on macOS hosts"});
}

TEST(VzHome, WithASpaceOrACommaIsRefusedWithAWayOut) {
  Sandbox box;
  for (const char* name : {"a b", "a,b"}) {
    const fs::path home = box.root() / name;
    fs::create_directory(home);
    fs::permissions(home, fs::perms::owner_all);
    box.set("COLIMA_LIKE_HOME=" + home.string());
    ASSERT_NO_FATAL_FAILURE(use_stand_in(box, "none"));
    expect_error(box.cl({"start"}, {}, 1800s), 2, {"vfkit cannot use the path", "set COLIMA_LIKE_HOME"});
  }
}

// --- one machine, in this order -------------------------------------------------------------------------------------

class Vz : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    box = new Sandbox;
    use_stand_in(*box, "qemu");
    const Result started = box->cl({"start"}, {}, 1800s);
    intact = started.code == 0;
    EXPECT_OK(started);
    if (intact) box->import_busybox("box");
  }
  static void TearDownTestSuite() { delete box; }
  void SetUp() override { ASSERT_TRUE(intact) << "an earlier step failed, this one stands on it"; }
  void TearDown() override { intact = intact && !HasFatalFailure(); }
  static Result docker(std::vector<std::string> args, std::string_view input = {}) {
    return box->docker(std::move(args), input);
  }
  static Result in_guest(const std::string& command) { return box->cl({"ssh", "--", command}); }

  static Sandbox* box;
  static bool intact;
};
Sandbox* Vz::box = nullptr;
bool Vz::intact = false;

TEST_F(Vz, RunsContainers) {
  EXPECT_EQ(box->status().at("driver").as_string(), "vz");
  EXPECT_EQ(docker({"run", "--rm", "box", "echo", "hello"}).out, "hello\n");
  ASSERT_OK(docker({"run", "-d", "--name", "stays", "--restart", "always", "box", "sleep", "1000000"}));
  EXPECT_FALSE(any_listens_on_ip(box->processes())) << "all of it goes over unix sockets";
}

TEST_F(Vz, KeepsTheEndOfInputThoughVfkitDropsIt) {
  EXPECT_EQ(docker({"run", "-i", "--rm", "box", "cat"}, "all of it\n").out, "all of it\n");
}

TEST_F(Vz, RunsItsAgentOverSsh) {
  // Its file is named after the digest where the image has another build than this program.
  EXPECT_OK(in_guest("ps -eo args | grep -E '^/[^ ]+/(colima-like-agent|[0-9a-f]{64}) --stdio$'"));
}

TEST_F(Vz, IsKnownToItsContainersByName) {
  const Result host = docker({"run", "--rm", "--add-host", "h:host-gateway", "box", "cat", "/etc/hosts"});
  const Result gateway = in_guest("busybox ip route show default");
  std::istringstream words(gateway.out);
  std::string word, via;
  while (words >> word)
    if (word == "via") words >> via;
  EXPECT_NE(via, "");
  EXPECT_NE(host.out.find(via + "\th"), std::string::npos) << host.out << gateway.out;
  EXPECT_NE(in_guest("cat /etc/hosts").out.find(via + " host.docker.internal"), std::string::npos);
}

/// What a Mac uses, and the stand-in cannot reach from outside: inside of the guest vsock has a loopback.
TEST_F(Vz, HasItsSshServerOnVsock) {
  const Result banner = in_guest(
      "modprobe vsock_loopback && perl -e 'socket(S, 40, 1, 0) or die; connect(S, pack(\"SSLLx4\", 40, 0, 22, 1)) or "
      "die "
      "\"connect: $!\"; print scalar <S>'");
  EXPECT_EQ(banner.out.substr(0, 8), "SSH-2.0-") << banner;
  EXPECT_OK(in_guest("test -d /run/sshd && systemctl is-active colima-like-vsock.socket"));
}

TEST_F(Vz, GotItsCredentialsWithTheInitrdAndKeepsThemFromOthers) {
  EXPECT_OK(in_guest("test -s /run/credentials/@system/colima-like.hostkey && test ! -e /run/credentials/@initrd"));
  EXPECT_NE(in_guest("stat -c %a /run/credentials/@system").out.find("00"), std::string::npos);
}

TEST_F(Vz, IsPausedAndGoesOn) {
  ASSERT_OK(box->cl({"suspend"}));
  EXPECT_EQ(box->state(), "suspended");
  EXPECT_EQ(docker({"exec", "stays", "echo", "awake"}).out, "awake\n");
  EXPECT_EQ(box->state(), "running");
}

TEST_F(Vz, IsTakenOverWithItsContainers) {
  const pid_t machine = machine_pid(*box);
  const std::string life = docker({"inspect", "--format", "{{.State.StartedAt}}", "stays"}).out;
  box->kill_daemons();
  ASSERT_OK(box->cl({"start"}));
  EXPECT_EQ(machine_pid(*box), machine);
  EXPECT_EQ(docker({"inspect", "--format", "{{.State.StartedAt}}", "stays"}).out, life);
}

TEST_F(Vz, IsPoweredOff) {
  const pid_t machine = machine_pid(*box);
  ASSERT_OK(box->cl({"stop"}, {}, 180s));
  EXPECT_FALSE(alive(machine));
  EXPECT_NE(read_file(box->profile() / "log" / "console.log").find("Powering off"), std::string::npos);
  EXPECT_NE(read_file(box->profile() / "log" / "daemon.log").find("the machine ended: the guest powered off"),
            std::string::npos);
  EXPECT_EQ(box->state(), "stopped");
}

}  // namespace
}  // namespace cl::e2e
