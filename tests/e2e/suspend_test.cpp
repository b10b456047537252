#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <boost/json.hpp>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <random>
#include <thread>

#include "src/base/file.hpp"
#include "tests/e2e/sandbox.hpp"

// Suspend and resume of one machine; the tests build on each other, in this order.

namespace cl::e2e {
namespace {

/// Writes records for ever. A record is on the disk before its line in `sums` is written: a line that can be read whole
/// must have its record, whatever happened in between.
constexpr const char* write_records =
    "cd /store; i=$(wc -l <sums 2>/dev/null || echo 0); while :; do i=$((i+1)); head -c 3000 /dev/urandom >record.$i; "
    "sum=$(sha256sum record.$i); sync; echo \"$sum\" >>sums; sleep 0.2; done";
constexpr const char* check_records =
    "cd /store && grep -E '^[0-9a-f]{64}  record[.][0-9]+$' sums >/tmp/whole && sha256sum -c /tmp/whole >/tmp/said || "
    "{ grep -v OK /tmp/said; exit 1; }; wc -l </tmp/whole";

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

TEST_F(Suspend, IsNotEndedByWhoOnlyLooksWhereThoseDoNotCount) {
  ASSERT_OK(cl({"config", "set", "idle_clients", "working"}));
  ASSERT_OK(cl({"apply"}));
  ASSERT_OK(docker({"ps"}));
  ASSERT_NO_FATAL_FAILURE(suspend());
  const Result listed = docker({"ps"});
  EXPECT_NE(listed.code, 0);
  EXPECT_NE(listed.err.find("the machine sleeps"), std::string::npos) << listed;
  EXPECT_EQ(box->state(), "suspended");
  EXPECT_OK(docker({"exec", "counter", "true"}));
  EXPECT_EQ(box->state(), "running");
  ASSERT_OK(cl({"config", "unset", "idle_clients"}));
  ASSERT_OK(cl({"apply"}));
}

TEST_F(Suspend, KeepsProcessesConnectionsAndTheirOrder) {
  const std::string before = life();
  const int counted = count();
  auto follower = box->start_docker({"exec", "counter", "sh", "-c", "sleep 4; echo still here"});
  std::this_thread::sleep_for(1s);  // the program in the container begins; nothing tells when
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
  std::this_thread::sleep_for(5s);  // by which an unmended clock would be late
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

// The stand-in for QEMU dies at ten times as many instants (stand_in_test.cpp). Here it is the guest that is asked
// whether everything is still what it was.
TEST_F(Suspend, NothingIsLostWhoeverIsKilledMeanwhile) {
  const unsigned seed = std::random_device{}();
  std::minstd_rand random(seed);
  ASSERT_OK(docker({"run", "-d", "--name", "writer", "--restart", "always", "-v", "store:/store", "box", "sh", "-c",
                    write_records}));
  const auto suspending = cl({"suspend"}).time;
  const auto resuming = cl({"start"}).time;
  const auto instant = [&random](std::chrono::milliseconds whole) {
    return std::chrono::milliseconds(std::uniform_int_distribution<long>(0, whole.count() * 9 / 8)(random));
  };
  int daemons_alone = 0, went_on = 0;
  // Each costs seconds, or a cold boot: $COLIMA_LIKE_KILL_POINTS asks for more.
  const char* wanted = std::getenv("COLIMA_LIKE_KILL_POINTS");
  const int points = wanted != nullptr ? std::atoi(wanted) : 4;
  for (int point = 0; point < points; ++point) {
    const bool daemon = point % 3 != 2, hypervisor = point % 3 == 2 || point % 6 == 0;
    const bool of_suspend = random() % 2 == 0;
    const auto delay = instant(of_suspend ? suspending : resuming);
    SCOPED_TRACE("point " + std::to_string(point) + " of seed " + std::to_string(seed) + ":" +
                 (daemon ? " the daemon" : "") + (hypervisor ? " the hypervisor" : "") + " killed " +
                 std::to_string(delay.count()) + " ms into " + (of_suspend ? "suspend" : "start"));
    const std::string before = life();
    if (!of_suspend) ASSERT_NO_FATAL_FAILURE(suspend());
    auto running = box->start_cl({of_suspend ? "suspend" : "start"});
    std::this_thread::sleep_for(delay);  // the instant under test
    if (daemon)
      for (const pid_t pid : box->daemons()) ::kill(pid, SIGKILL);
    if (hypervisor)
      for (const pid_t pid : box->hypervisors()) ::kill(pid, SIGKILL);
    ASSERT_NE(running->wait(120s).code, -1) << "it hangs";
    ASSERT_OK(cl({"start"}, 600s));
    EXPECT_EQ(box->state(), "running");
    EXPECT_EQ(box->hypervisors().size(), 1u) << box->process_list();
    // A daemon costs a cold boot only when it goes between the end of its QEMU and the marker that says what is saved.
    if (!hypervisor) ++daemons_alone;
    if (!hypervisor && life() == before) ++went_on;
    const Result kept = docker(
        {"run", "--rm", "-v", "store:/store", "box", "sh", "-c", std::string("cat /store/file; ") + check_records});
    ASSERT_OK(kept);
    ASSERT_TRUE(kept.out.starts_with("precious\n")) << kept;
    EXPECT_GT(std::atoi(kept.out.c_str() + kept.out.find('\n')), 0) << "no records" << kept;
    EXPECT_OK(cl({"ssh", "--", "! dmesg | grep -i 'ext4.*error\\|i/o error'"}));
  }
  EXPECT_TRUE(went_on > 0 || daemons_alone == 0);
  EXPECT_OK(docker({"rm", "-f", "writer"}));
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
  {
    // QEMU's part begins where the memory ends, or first of all (docs/files.md).
    std::ofstream memory(saved() / "memory", std::ios::in | std::ios::out);
    memory.write("garbage!", 8);
    memory.seekp(2LL << 30);
    memory.write("garbage!", 8);
  }
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
  std::this_thread::sleep_for(12s);  // longer than `idle`: that nothing happens cannot be waited for
  EXPECT_EQ(box->state(), "running") << "a container runs";
  ASSERT_OK(docker({"stop", "-t", "0", "counter"}));
  auto busy = box->start_cl({"ssh", "--", "sleep 14; echo done"});
  std::this_thread::sleep_for(12s);  // likewise
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
  // After all of that: the journal is replayed, nothing else is wrong.
  ASSERT_OK(cl({"start"}, 600s));
  ASSERT_OK(cl({"stop"}));
  EXPECT_OK(box->run({"/sbin/e2fsck", "-f", "-n", (box->profile() / "data.raw").string()}));
  const Result refused = cl({"suspend"});
  EXPECT_EQ(refused.code, 3) << refused;
}

}  // namespace
}  // namespace cl::e2e
