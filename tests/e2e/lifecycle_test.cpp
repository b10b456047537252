#include <signal.h>

#include <algorithm>
#include <boost/json.hpp>
#include <regex>
#include <sstream>
#include <thread>

#include "src/base/file.hpp"
#include "tests/e2e/sandbox.hpp"

// What survives what, from a first start to the end of everything. The tests build on each other, in this order, so
// that six boots are enough.

namespace cl::e2e {
namespace {

class Lifecycle : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    box = new Sandbox;
    // The context that must come back at the end.
    box->docker({"context", "create", "before", "--docker", "host=unix:///nowhere.sock"});
    box->docker({"context", "use", "before"});
  }
  static void TearDownTestSuite() {
    early.reset();
    delete box;
  }
  void SetUp() override { ASSERT_TRUE(intact) << "an earlier step failed, this one stands on it"; }
  void TearDown() override { intact = intact && !HasFatalFailure(); }

  static Result docker(std::vector<std::string> args, std::string_view input = {}) {
    return box->docker(std::move(args), input);
  }
  static Result cl(std::vector<std::string> args, std::chrono::seconds limit = command_limit) {
    return box->cl(std::move(args), {}, limit);
  }
  static Result start(std::vector<std::string> args = {}) {
    args.insert(args.begin(), "start");
    return cl(std::move(args), 1800s);
  }
  /// The container that must be there, and the volume with what it wrote.
  static void expect_data() {
    const Result kept = docker({"ps", "--all", "--filter", "name=keeper", "--format", "{{.Names}}"});
    EXPECT_EQ(kept.out, "keeper\n") << kept;
    const Result volume = docker({"run", "--rm", "-v", "store:/store", "box", "cat", "/store/file"});
    EXPECT_EQ(volume.out, "precious\n") << volume;
  }
  static std::string started_at(const std::string& container) {
    return docker({"inspect", "--format", "{{.State.StartedAt}} {{.State.Pid}} {{.State.Running}}", container}).out;
  }

  static Sandbox* box;
  static bool intact;
  /// Of the start that made the machine, and of a client that came as soon as there was a socket.
  static Result started;
  static std::unique_ptr<Process> early;
};
Sandbox* Lifecycle::box = nullptr;
bool Lifecycle::intact = true;
Result Lifecycle::started;
std::unique_ptr<Process> Lifecycle::early;

TEST_F(Lifecycle, TwoStartsAtOnceGiveOneMachineAndTheSameAnswer) {
  auto one = box->start_cl({"start"});
  auto two = box->start_cl({"start"});
  // The machine follows its socket after some hundred milliseconds.
  while (!fs::exists(box->docker_socket()) && alive(one->pid())) std::this_thread::sleep_for(1ms);
  const std::string host = "unix://" + box->docker_socket().string();
  early = box->start_docker({"--host", host, "version", "--format", "{{.Server.Os}}"});
  const Result first = one->wait(1800s), second = two->wait(60s);
  started = first.err.find("waiting for the start") == std::string::npos ? first : second;
  ASSERT_OK(first);
  ASSERT_OK(second);
  EXPECT_NE(first.out.find(box->docker_socket().string()), std::string::npos) << first;
  EXPECT_NE(second.out.find(box->docker_socket().string()), std::string::npos) << second;
  EXPECT_EQ(box->hypervisors().size(), 1u) << box->process_list();
  EXPECT_EQ(box->daemons().size(), 1u) << box->process_list();
}

TEST_F(Lifecycle, AClientThatCameBeforeTheMachineWaitedForIt) {
  const Result answered = early->wait(60s);
  EXPECT_OK(answered);
  EXPECT_EQ(answered.out, "linux\n") << answered;
}

TEST_F(Lifecycle, StartTellsEachPhaseWithItsTimeAndThenTheSocket) {
  EXPECT_NE(started.out.find("unix://" + box->docker_socket().string()), std::string::npos) << started;
  EXPECT_EQ(std::count(started.out.begin(), started.out.end(), '\n'), 1) << "one line of result:" << started;
  std::istringstream lines(started.err);
  const std::regex timed(R"(.*\d+(\.\d+)? ?s.*)");
  int phases = 0;
  for (std::string line; std::getline(lines, line);) phases += std::regex_match(line, timed) ? 1 : 0;
  EXPECT_GE(phases, 5) << "image, machine, guest, provisioning, docker:" << started;
}

TEST_F(Lifecycle, ContainersAndVolumesAreMade) {
  ASSERT_NO_FATAL_FAILURE(box->import_busybox("box"));
  ASSERT_OK(docker({"run", "-d", "--name", "keeper", "--restart", "always", "-v", "store:/store", "box", "sh", "-c",
                    // Says whether it was stopped in order.
                    "trap 'echo stopped > /store/end; sync; exit 0' TERM; echo precious > /store/file; sync; "
                    "while :; do sleep 0.2; done"}));
  ASSERT_TRUE(eventually(60s, [] { return docker({"exec", "keeper", "cat", "/store/file"}).out == "precious\n"; }));
  expect_data();
}

TEST_F(Lifecycle, AKilledDaemonLeavesTheMachineAndItsContainersRunning) {
  const auto machine = box->hypervisors();
  const std::string before = started_at("keeper");
  const auto daemons = box->daemons();
  ASSERT_EQ(daemons.size(), 1u) << box->process_list();
  box->kill_daemons();
  ASSERT_TRUE(eventually(10s, [&] { return !alive(daemons[0]); }));
  EXPECT_EQ(box->state(), "degraded");
  EXPECT_EQ(box->hypervisors(), machine);

  ASSERT_OK(cl({"ssh", "--", "true"}));  // needs a daemon: a new one takes the machine over
  EXPECT_EQ(box->hypervisors(), machine);
  EXPECT_EQ(box->daemons().size(), 1u) << box->process_list();
  EXPECT_TRUE(eventually(60s, [] { return box->state() == "running"; }));
  EXPECT_EQ(started_at("keeper"), before) << "the container must not have been touched";
}

TEST_F(Lifecycle, AStartAfterAKilledDaemonTakesTheMachineOver) {
  const auto machine = box->hypervisors();
  const std::string before = started_at("keeper");
  ASSERT_EQ(box->daemons().size(), 1u);
  ::kill(box->daemons()[0], SIGKILL);
  ASSERT_OK(start());
  EXPECT_EQ(box->hypervisors(), machine);
  EXPECT_EQ(box->state(), "running");
  EXPECT_EQ(started_at("keeper"), before);
}

TEST_F(Lifecycle, AChangedHostKeyIsRefused) {
  const fs::path keys = box->profile() / "keys";
  fs::path pinned;
  for (const auto& entry : fs::directory_iterator(keys)) {
    const std::string name = entry.path().filename();
    if (name.find("host") != std::string::npos && name.find("pub") != std::string::npos) pinned = entry.path();
  }
  ASSERT_FALSE(pinned.empty()) << box->run({"ls", "-l", keys.string()});
  const std::string right = read_file(pinned);
  const fs::path other = box->root() / "otherkey";
  ASSERT_OK(box->run({"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other.string()}));
  write_atomically(pinned, read_file(other.string() + ".pub"));
  const auto machine = box->hypervisors();
  ASSERT_EQ(box->daemons().size(), 1u);
  ::kill(box->daemons()[0], SIGKILL);
  const Result refused = cl({"ssh", "--", "true"}, 400s);
  expect_error(refused, 5, {"host key"});
  EXPECT_EQ(box->hypervisors(), machine) << "nothing is thrown away for it";
  box->kill_daemons();
  write_atomically(pinned, right);
  ASSERT_OK(start());
  EXPECT_EQ(box->hypervisors(), machine);
}

TEST_F(Lifecycle, StopGivesContainersTheirStop) {
  ASSERT_TRUE(eventually(60s, [] { return started_at("keeper").find("true") != std::string::npos; }));
  ASSERT_OK(cl({"stop"}, 200s));
  EXPECT_FALSE(fs::exists(fs::symlink_status(box->docker_socket())));
  EXPECT_TRUE(eventually(20s, [] { return box->processes().empty(); })) << box->process_list();
}

TEST_F(Lifecycle, CtrlCDuringAStartLeavesNothingRunning) {
  auto starting = box->start_cl({"start"});
  ASSERT_TRUE(eventually(120s, [] { return box->hypervisors().size() == 1; })) << starting->err();
  starting->signal(SIGINT);
  const Result result = starting->wait(60s);
  EXPECT_EQ(result.code, 130) << result;
  EXPECT_TRUE(eventually(20s, [] { return box->processes().empty(); })) << box->process_list();
  EXPECT_FALSE(fs::exists(fs::symlink_status(box->docker_socket())));
  EXPECT_EQ(box->state(), "stopped");
}

TEST_F(Lifecycle, AStartWhoseDaemonIsKilledIsRepairedByTheNext) {
  auto starting = box->start_cl({"start", "--cpus", "1", "--memory", "1GiB"});
  ASSERT_TRUE(eventually(120s, [] { return box->hypervisors().size() == 1; })) << starting->err();
  ASSERT_EQ(box->daemons().size(), 1u) << box->process_list();
  ::kill(box->daemons()[0], SIGKILL);
  const Result cut = starting->wait(60s);
  EXPECT_NE(cut.code, 0) << cut;
  EXPECT_NE(cut.err.find("error: "), std::string::npos) << cut;

  ASSERT_OK(start());
  EXPECT_EQ(box->hypervisors().size(), 1u) << box->process_list();
  const Result end = docker({"run", "--rm", "-v", "store:/store", "box", "cat", "/store/end"});
  EXPECT_EQ(end.out, "stopped\n") << "the container was killed instead of stopped" << end;
  expect_data();
  // --restart always: it runs again as on any host.
  EXPECT_TRUE(eventually(60s, [] { return started_at("keeper").find("true") != std::string::npos; }));
}

TEST_F(Lifecycle, RestartAppliesItsProfile) {
  const auto machine = box->hypervisors();
  ASSERT_OK(cl({"restart"}, boot_limit));
  EXPECT_EQ(box->hypervisors().size(), 1u);
  EXPECT_NE(box->hypervisors(), machine);
  EXPECT_EQ(box->status().at("cpus"), 2);
  expect_data();
}

TEST_F(Lifecycle, AKilledMachineIsToldAtOnceAndCanBeDeleted) {
  const auto machine = box->hypervisors();
  ASSERT_EQ(machine.size(), 1u);
  ASSERT_EQ(::kill(machine[0], SIGKILL), 0);
  // Its last thread drops the lock when the guest's memory is freed, which may be a moment after its first one ended.
  ASSERT_TRUE(eventually(10s, [&] { return box->state() != "running"; }));
  const Result status = cl({"status", "--json"});
  EXPECT_EQ(status.code, 3) << status;
  EXPECT_EQ(boost::json::parse(status.out).at("state"), "stopped") << status;
  EXPECT_TRUE(boost::json::parse(status.out).as_object().contains("error")) << "it says what happened:" << status;
  ASSERT_OK(cl({"delete", "--force"}, 200s));
  EXPECT_TRUE(fs::exists(box->profile() / "data.raw"));
  EXPECT_FALSE(fs::exists(box->profile() / "root.qcow2"));
  EXPECT_TRUE(eventually(20s, [] { return box->processes().empty(); })) << box->process_list();
}

TEST_F(Lifecycle, DataSurvivesAKillAndADelete) {
  ASSERT_OK(start());
  expect_data();
}

TEST_F(Lifecycle, StopFreesEverythingAndGivesTheContextBack) {
  ASSERT_OK(cl({"stop"}, 200s));
  EXPECT_FALSE(fs::exists(fs::symlink_status(box->docker_socket())));
  EXPECT_TRUE(eventually(20s, [] { return box->processes().empty(); })) << box->process_list();
  EXPECT_EQ(docker({"context", "inspect", "--format", "{{.Name}}"}).out, "before\n");
  const Result status = cl({"status", "--json"});
  EXPECT_EQ(status.code, 3) << status;
  EXPECT_EQ(boost::json::parse(status.out).at("state"), "stopped");
  EXPECT_OK(cl({"stop"}));  // already stopped: what was asked for holds
  expect_error(cl({"ssh", "--", "true"}), 3, {"not running", "start"});
}

TEST_F(Lifecycle, DeleteWithDataLeavesNothing) {
  ASSERT_OK(cl({"delete", "--data"}, 200s));
  EXPECT_TRUE(fs::is_empty(box->home())) << box->run({"find", box->home().string()});
  EXPECT_EQ(docker({"context", "ls", "--format", "{{.Name}}"}).out.find("colima-like"), std::string::npos);
  EXPECT_TRUE(eventually(20s, [] { return box->processes().empty(); })) << box->process_list();
  expect_error(cl({"delete"}), 1, {"no profile 'default'"});
}

}  // namespace
}  // namespace cl::e2e
