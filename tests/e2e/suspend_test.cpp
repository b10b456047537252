#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <boost/json.hpp>
#include <chrono>
#include <cmath>
#include <fstream>

#include "src/base/file.hpp"
#include "tests/e2e/sandbox.hpp"

// Suspend and resume of one machine; the tests build on each other, in this order.

namespace cl::e2e {
namespace {

class Suspend : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    box = new Sandbox;
    const Result started = box->cl({"start"}, {}, 1800s);
    intact = started.code == 0;
    EXPECT_OK(started);
    if (!intact) return;
    box->import_busybox("box");
    // It counts in its own memory, so that only a memory that goes on can go on counting.
    EXPECT_OK(box->docker({"run", "-d", "--name", "counter", "--restart", "always", "box", "sh", "-c",
                           "i=0; while :; do i=$((i+1)); echo $i >/next; mv /next /count; sleep 0.2; done"}));
    EXPECT_OK(box->docker({"run", "--rm", "-v", "store:/store", "box", "sh", "-c", "echo precious >/store/file"}));
  }
  static void TearDownTestSuite() { delete box; }
  void SetUp() override { ASSERT_TRUE(intact) << "an earlier step failed, this one stands on it"; }
  void TearDown() override { intact = intact && !HasFatalFailure(); }

  static Result docker(std::vector<std::string> args) { return box->docker(std::move(args)); }
  static Result cl(std::vector<std::string> args, std::chrono::seconds limit = command_limit) {
    return box->cl(std::move(args), {}, limit);
  }
  static int count() {
    return std::atoi(
        docker({"exec", "counter", "sh", "-c", "until [ -s /count ]; do :; done; cat /count"}).out.c_str());
  }
  /// Of the counter's process: another one after every boot and every restart of the container.
  static std::string life() {
    return docker({"inspect", "--format", "{{.State.Pid}} {{.State.StartedAt}}", "counter"}).out;
  }
  static void expect_data() {
    const Result volume = docker({"run", "--rm", "-v", "store:/store", "box", "cat", "/store/file"});
    EXPECT_EQ(volume.out, "precious\n") << volume;
  }
  static void suspend() {
    const Result suspended = cl({"suspend"});
    ASSERT_OK(suspended);
    EXPECT_NE(suspended.out.find("is suspended"), std::string::npos) << suspended;
    EXPECT_EQ(box->hypervisors().size(), 0u) << box->process_list();
  }
  static fs::path saved() { return box->profile() / "suspended"; }

  static Sandbox* box;
  static bool intact;
};
Sandbox* Suspend::box = nullptr;
bool Suspend::intact = false;

TEST_F(Suspend, EndsTheHypervisorAndSaysWhatItTakes) {
  ASSERT_NO_FATAL_FAILURE(suspend());
  EXPECT_EQ(box->state(), "suspended");
  EXPECT_EQ(box->daemons().size(), 1u) << box->process_list();
  EXPECT_GT(box->status().at("saved_bytes").to_number<std::int64_t>(), 50 << 20);
  const Result status = cl({"status"});
  EXPECT_OK(status);
  EXPECT_NE(status.out.find("on disk"), std::string::npos) << status;
  const Result again = cl({"suspend"});
  EXPECT_OK(again);
  EXPECT_NE(again.out.find("already suspended"), std::string::npos) << again;
}

TEST_F(Suspend, StartGoesOnWhereItWas) {
  const Result resumed = cl({"start"});
  ASSERT_OK(resumed);
  EXPECT_NE(resumed.out.find("is resumed"), std::string::npos) << resumed;
  EXPECT_EQ(box->state(), "running");
  EXPECT_FALSE(fs::exists(saved() / "marker.json"));
  EXPECT_GT(count(), 0);
}

TEST_F(Suspend, KeepsProcessesConnectionsAndTheirOrder) {
  const std::string before = life();
  const int counted = count();
  auto follower = box->start_docker({"exec", "counter", "sh", "-c", "sleep 4; echo still here"});
  std::this_thread::sleep_for(1s);
  ASSERT_NO_FATAL_FAILURE(suspend());
  ASSERT_OK(cl({"start"}));
  EXPECT_EQ(life(), before);
  EXPECT_GE(count(), counted);
  const Result followed = follower->wait(60s);
  EXPECT_OK(followed);
  EXPECT_EQ(followed.out, "still here\n") << followed;
}

TEST_F(Suspend, AUseOfDockerWakesItAndTheClockIsRight) {
  const std::string before = life();
  ASSERT_NO_FATAL_FAILURE(suspend());
  std::this_thread::sleep_for(5s);
  const Result time = docker({"exec", "counter", "date", "+%s"});
  ASSERT_OK(time);
  EXPECT_NEAR(std::atof(time.out.c_str()), static_cast<double>(std::time(nullptr)), 3.0) << time;
  EXPECT_EQ(life(), before);
  EXPECT_EQ(box->state(), "running");
}

TEST_F(Suspend, ManyClientsAtOnceWakeItOnce) {
  ASSERT_NO_FATAL_FAILURE(suspend());
  std::vector<std::unique_ptr<Process>> clients;
  for (int i = 0; i < 20; ++i) clients.push_back(box->start_docker({"version", "--format", "{{.Server.Os}}"}));
  for (auto& client : clients) {
    const Result result = client->wait(120s);
    EXPECT_OK(result);
    EXPECT_EQ(result.out, "linux\n") << result;
  }
  EXPECT_EQ(box->hypervisors().size(), 1u) << box->process_list();
}

TEST_F(Suspend, SshWakesItToo) {
  ASSERT_NO_FATAL_FAILURE(suspend());
  const Result result = cl({"ssh", "--", "echo", "awake"});
  EXPECT_OK(result);
  EXPECT_EQ(result.out, "awake\n") << result;
}

TEST_F(Suspend, OutlivesTheDaemon) {
  const std::string before = life();
  ASSERT_NO_FATAL_FAILURE(suspend());
  const auto daemons = box->daemons();
  ASSERT_EQ(daemons.size(), 1u);
  ::kill(daemons.front(), SIGKILL);
  EXPECT_EQ(box->state(), "suspended");
  const Result resumed = cl({"start"});
  ASSERT_OK(resumed);
  EXPECT_NE(resumed.out.find("is resumed"), std::string::npos) << resumed;
  EXPECT_EQ(life(), before);
}

TEST_F(Suspend, ADaemonKilledMeanwhileLeavesAMachineThatRunsOrOneThatResumes) {
  const std::string before = life();
  for (const auto delay : {20ms, 120ms, 250ms, 500ms, 900ms}) {
    auto suspending = box->start_cl({"suspend"});
    std::this_thread::sleep_for(delay);
    for (const pid_t daemon : box->daemons()) ::kill(daemon, SIGKILL);
    suspending->wait(60s);
    SCOPED_TRACE("killed after " + std::to_string(delay.count()) + " ms");
    ASSERT_OK(cl({"start"}));
    EXPECT_EQ(box->state(), "running");
    EXPECT_EQ(box->hypervisors().size(), 1u) << box->process_list();
    EXPECT_EQ(life(), before);
  }
  for (const auto delay : {30ms, 150ms, 300ms, 600ms}) {
    ASSERT_NO_FATAL_FAILURE(suspend());
    auto resuming = box->start_cl({"start"});
    std::this_thread::sleep_for(delay);
    for (const pid_t daemon : box->daemons()) ::kill(daemon, SIGKILL);
    resuming->wait(60s);
    SCOPED_TRACE("killed after " + std::to_string(delay.count()) + " ms");
    ASSERT_OK(cl({"start"}, 600s));
    EXPECT_EQ(life(), before);
  }
  expect_data();
}

TEST_F(Suspend, AHypervisorKilledMeanwhileCostsTheMemoryAndNotTheData) {
  for (const auto delay : {50ms, 300ms}) {
    auto suspending = box->start_cl({"suspend"});
    std::this_thread::sleep_for(delay);
    for (const pid_t hypervisor : box->hypervisors()) ::kill(hypervisor, SIGKILL);
    suspending->wait(60s);
    ASSERT_OK(cl({"start"}, 600s));
    EXPECT_EQ(box->state(), "running");
    expect_data();
  }
}

TEST_F(Suspend, IsNotResumedOverADiskThatHasChanged) {
  ASSERT_NO_FATAL_FAILURE(suspend());
  fs::last_write_time(box->profile() / "data.raw", fs::file_time_type::clock::now());
  const Result booted = cl({"start"}, 600s);
  ASSERT_OK(booted);
  EXPECT_NE(booted.err.find("the disk data.raw has changed since"), std::string::npos) << booted;
  EXPECT_NE(booted.out.find("is running"), std::string::npos) << booted;
  EXPECT_FALSE(fs::exists(saved()));
  expect_data();
  EXPECT_GT(count(), 0) << "the container restarts by its policy";
}

TEST_F(Suspend, ADamagedMemoryMeansAColdBootThatSaysSo) {
  ASSERT_NO_FATAL_FAILURE(suspend());
  // A marker that fits a memory that is none: what a fault of ours would leave.
  const auto marker = saved() / "marker.json";
  std::ofstream(saved() / "memory", std::ios::in | std::ios::out).write("garbage!", 8);
  auto content = boost::json::parse(read_file(marker)).as_object();
  struct stat facts{};
  ::stat((saved() / "memory").c_str(), &facts);
  content["memory"].as_object()["changed"] = static_cast<std::int64_t>(facts.st_ctim.tv_sec);
  content["memory"].as_object()["changed_ns"] = static_cast<std::int64_t>(facts.st_ctim.tv_nsec);
  write_atomically(marker, boost::json::serialize(content));
  const Result booted = cl({"start"}, 600s);
  ASSERT_OK(booted);
  EXPECT_NE(booted.err.find("was not resumed but booted"), std::string::npos) << booted;
  EXPECT_EQ(box->hypervisors().size(), 1u) << box->process_list();
  expect_data();
}

TEST_F(Suspend, AColdStartGivesItUp) {
  ASSERT_NO_FATAL_FAILURE(suspend());
  const Result booted = cl({"start", "--cold"}, 600s);
  ASSERT_OK(booted);
  EXPECT_NE(booted.out.find("is running"), std::string::npos) << booted;
  EXPECT_FALSE(fs::exists(saved()));
}

TEST_F(Suspend, AMachineThatNobodyUsesFallsAsleep) {
  ASSERT_OK(cl({"config", "set", "idle", "10s"}));
  ASSERT_OK(cl({"apply"}));
  std::this_thread::sleep_for(15s);
  EXPECT_EQ(box->state(), "running") << "a container runs";
  ASSERT_OK(docker({"stop", "-t", "0", "counter"}));
  auto busy = box->start_cl({"ssh", "--", "sleep 20; echo done"});
  std::this_thread::sleep_for(16s);
  EXPECT_EQ(box->state(), "running") << "somebody works in it";
  EXPECT_OK(busy->wait(60s));
  for (int i = 0; i < 60 && box->state() != "sleeping"; ++i) std::this_thread::sleep_for(1s);
  EXPECT_EQ(box->state(), "sleeping");
  EXPECT_EQ(box->hypervisors().size(), 0u) << box->process_list();
  expect_data();
  EXPECT_EQ(box->state(), "running");
}

TEST_F(Suspend, AStopGivesItUpAndLeavesNothing) {
  ASSERT_NO_FATAL_FAILURE(suspend());
  ASSERT_OK(cl({"stop"}));
  EXPECT_EQ(box->state(), "stopped");
  EXPECT_FALSE(fs::exists(saved()));
  EXPECT_FALSE(fs::exists(box->docker_socket()));
  const Result refused = cl({"suspend"});
  EXPECT_EQ(refused.code, 3) << refused;
}

}  // namespace
}  // namespace cl::e2e
