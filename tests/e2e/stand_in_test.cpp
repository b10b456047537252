#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <random>
#include <sstream>
#include <thread>

#include "src/base/file.hpp"
#include "tests/e2e/sandbox.hpp"

// kill -9 of the daemon, of the hypervisor, or of both, at random instants of suspend and resume, and Ctrl-C and
// SIGTERM at random instants of a start. The hypervisor is a stand-in that notices a memory which goes on over a disk
// that others have written to (tests/fakes/stand_in_qemu.py); the real one is in suspend_test.cpp.

namespace cl::e2e {
namespace {

constexpr int default_points = 40;  // each takes about a second; $COLIMA_LIKE_KILL_POINTS asks for more

int points() {
  const char* wanted = std::getenv("COLIMA_LIKE_KILL_POINTS");
  return wanted != nullptr ? std::atoi(wanted) : default_points;
}

/// A directory for PATH in which qemu-system-* are the stand-in, of this version.
fs::path stand_in(const Sandbox& box, const std::string& version) {
  const fs::path directory = box.root() / "bin";
  fs::create_directory(directory);
  for (const std::string arch : {"x86_64", "aarch64"}) {
    const std::string name = "qemu-system-" + arch;
    std::ofstream(directory / name) << "#!/bin/sh\n"
                                    << "case \" $* \" in *' -version '*) echo QEMU emulator version " << version
                                    << "; exit ;; esac\n"
                                    << "exec " COLIMA_LIKE_STAND_IN_QEMU " \"$@\"\n";
    fs::permissions(directory / name, fs::perms::owner_all);
  }
  return directory;
}

enum class Victim { daemon, hypervisor, both };

struct Point {
  const char* command;
  Victim victim;
  std::chrono::milliseconds after;
};
std::ostream& operator<<(std::ostream& out, const Point& point) {
  constexpr const char* names[] = {"the daemon", "the hypervisor", "both"};
  return out << names[static_cast<int>(point.victim)] << " killed " << point.after.count() << " ms into "
             << point.command;
}

class StandIn : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "the stand-in's sshd lets root in, which only root can start";
    box.set("PATH=" + stand_in(box, "10.0.0").string() + ":" + std::getenv("PATH"));
    ASSERT_OK(box.cl({"config", "set", "runtime", "none"}));  // the stand-in has no engine
    ASSERT_OK(box.cl({"config", "set", "vm.accel", "tcg"}));
  }
  void start() { ASSERT_OK(box.cl({"start"}, {}, 1800s)); }  // builds the image when there is none
  void expect_running() {
    EXPECT_EQ(box.state(), "running");
    EXPECT_EQ(box.hypervisors().size(), 1u) << box.process_list();
    EXPECT_OK(box.cl({"ssh", "--", "true"}));
  }

  Sandbox box;
};

TEST_F(StandIn, OfAQemuThatCannotSaveIsPausedInMemory) {
  stand_in(box, "8.2.2");
  ASSERT_NO_FATAL_FAILURE(start());
  const auto machines = box.hypervisors();
  const Result paused = box.cl({"suspend"});
  ASSERT_OK(paused);
  EXPECT_NE(paused.out.find("its memory stays in use: QEMU 8.2.2 cannot save"), std::string::npos) << paused;
  EXPECT_EQ(box.state(), "suspended");
  EXPECT_EQ(box.hypervisors(), machines);
  EXPECT_EQ(box.status().at("in_memory"), true);
  const Result status = box.cl({"status"});
  EXPECT_NE(status.out.find("its memory stays in use"), std::string::npos) << status;
  // The stand-in's processor counts on the disk while it runs.
  const auto written = fs::last_write_time(box.profile() / "data.raw");
  std::this_thread::sleep_for(100ms);  // 50 of its ticks: that nothing happens cannot be waited for
  EXPECT_EQ(fs::last_write_time(box.profile() / "data.raw"), written);

  const Result resumed = box.cl({"start"});
  ASSERT_OK(resumed);
  EXPECT_NE(resumed.out.find("is resumed"), std::string::npos) << resumed;
  EXPECT_EQ(box.hypervisors(), machines);
  expect_running();

  ASSERT_OK(box.cl({"suspend"}));
  EXPECT_OK(box.cl({"ssh", "--", "true"}));  // a use wakes it
  EXPECT_EQ(box.state(), "running");
  ASSERT_OK(box.cl({"suspend"}));
  box.kill_daemons();
  ASSERT_OK(box.cl({"start"}));  // another daemon takes the paused machine over
  EXPECT_EQ(box.hypervisors(), machines);
  expect_running();

  ASSERT_OK(box.cl({"suspend"}));
  ASSERT_OK(box.cl({"start", "--cold"}));
  EXPECT_NE(box.hypervisors(), machines);
  expect_running();
  ASSERT_OK(box.cl({"suspend"}));
  ASSERT_OK(box.cl({"stop"}));
  EXPECT_EQ(box.state(), "stopped");
  EXPECT_TRUE(box.hypervisors().empty()) << box.process_list();
}

TEST_F(StandIn, WhoseHypervisorEndsWhilePausedIsBootedAgain) {
  stand_in(box, "8.2.2");
  ASSERT_NO_FATAL_FAILURE(start());
  ASSERT_OK(box.cl({"suspend"}));
  for (const pid_t hypervisor : box.hypervisors()) ::kill(hypervisor, SIGKILL);
  EXPECT_TRUE(eventually(10s, [this] { return box.state() == "stopped"; })) << box.state();
  ASSERT_OK(box.cl({"start"}));
  expect_running();
}

TEST_F(StandIn, ThatCannotSaveThisTimeRunsOn) {
  ASSERT_NO_FATAL_FAILURE(start());
  const auto machines = box.hypervisors();
  write_atomically(box.profile() / "no-save", "");
  expect_error(box.cl({"suspend"}), 1, {"could not be suspended and runs on", "No space left on device"});
  EXPECT_EQ(box.hypervisors(), machines);
  EXPECT_FALSE(fs::exists(box.profile() / "suspended"));
  expect_running();
  fs::remove(box.profile() / "no-save");
  EXPECT_OK(box.cl({"suspend"}));
  EXPECT_EQ(box.state(), "suspended");
}

TEST_F(StandIn, IsNotSuspendedWithoutSpaceForItsMemory) {
  // A small file system for the profile alone, which this test may mount and the program cannot tell from a full disk.
  const auto mounted =
      box.run({"mount", "-t", "tmpfs", "-o", "size=1100m,mode=0700", "colima-like-test", box.profile().string()});
  if (mounted.code != 0) GTEST_SKIP() << "nothing can be mounted here";
  box.on_exit([this] { box.run({"umount", "-l", box.profile().string()}); });
  ASSERT_OK(box.cl({"config", "set", "runtime", "none"}));
  ASSERT_OK(box.cl({"config", "set", "vm.accel", "tcg"}));
  ASSERT_NO_FATAL_FAILURE(start());
  ASSERT_OK(box.run({"mount", "-o", "remount,size=32m", box.profile().string()}));
  expect_error(box.cl({"suspend"}), 4, {"there is no space to suspend", "runs on", "colima-like stop"});
  expect_running();
  ASSERT_OK(box.cl({"stop"}));
}

TEST_F(StandIn, WhoseControlSocketIsLostIsEndedByForceAlone) {
  ASSERT_NO_FATAL_FAILURE(start());
  const auto machines = box.hypervisors();
  box.kill_daemons();
  fs::remove(box.profile() / "run" / "qmp.sock");
  for (const char* verb : {"start", "stop"}) expect_error(box.cl({verb}), 6, {"does not answer", "stop --force"});
  EXPECT_EQ(box.hypervisors(), machines);
  EXPECT_OK(box.cl({"stop", "--force"}));
  EXPECT_TRUE(box.hypervisors().empty()) << box.process_list();
  ASSERT_NO_FATAL_FAILURE(start());
  expect_running();
}

TEST_F(StandIn, WhoseDaemonDiesIsLookedAfterAgainWithoutACommand) {
  ASSERT_NO_FATAL_FAILURE(start());
  const auto machines = box.hypervisors();
  const auto since = [this] { return boost::json::parse(box.cl({"status", "--json"}).out).at("since"); };
  const auto before = since();
  const auto killed = box.daemons();
  ASSERT_EQ(killed.size(), 1u) << box.process_list();
  ::kill(killed[0], SIGKILL);
  EXPECT_TRUE(eventually(20s, [&] {
    return !box.daemons().empty() && box.daemons() != killed && box.state() == "running";
  })) << box.process_list();
  EXPECT_EQ(box.hypervisors(), machines);
  EXPECT_EQ(since(), before) << "the machine runs since then";
  const Result status = box.cl({"status"});
  EXPECT_NE(status.out.find("signal 9"), std::string::npos) << status;
  ASSERT_OK(box.cl({"stop"}));
  EXPECT_TRUE(eventually(20s, [&] { return box.daemons().empty() && box.supervisors().empty(); }))
      << box.process_list();
}

TEST_F(StandIn, IsStoppedAsAlwaysAfterItsDaemonWasKilled) {
  ASSERT_NO_FATAL_FAILURE(start());
  // The stop finds a daemon that has just begun to take the machine over.
  box.kill_daemons();
  const Result stopped = box.cl({"stop"});
  ASSERT_OK(stopped);
  EXPECT_NE(stopped.err.find("the machine is powered off"), std::string::npos) << stopped;
  EXPECT_EQ(box.state(), "stopped");
  EXPECT_TRUE(box.hypervisors().empty()) << box.process_list();
}

TEST_F(StandIn, ThatHangsIsTakenOverLaterAndEndedByForce) {
  ASSERT_NO_FATAL_FAILURE(start());
  const auto machines = box.hypervisors();
  ASSERT_EQ(machines.size(), 1u);
  box.kill_daemons();
  ::kill(machines[0], SIGSTOP);
  expect_error(box.cl({"start"}), 6, {"does not answer", "stop --force"});
  ::kill(machines[0], SIGCONT);
  ASSERT_OK(box.cl({"start"}));  // nothing that it needs was taken away
  EXPECT_EQ(box.hypervisors(), machines);
  expect_running();

  ::kill(machines[0], SIGSTOP);
  const Result ended = box.cl({"stop", "--force"}, {}, 20s);
  ASSERT_OK(ended);
  EXPECT_TRUE(box.hypervisors().empty()) << box.process_list();
  ASSERT_NO_FATAL_FAILURE(start());
}

TEST_F(StandIn, IsOneMachineWhoeverWaitsForWhomAndGivesUp) {
  ASSERT_NO_FATAL_FAILURE(start());
  for (int round = 0; round < 3; ++round) {
    auto stop = box.start_cl({"stop"});
    auto interrupted = box.start_cl({"start"});
    std::this_thread::sleep_for(20ms * (1 + 4 * round));  // somewhere in its waiting
    ::kill(interrupted->pid(), SIGINT);
    auto again = box.start_cl({"start"});
    auto apply = box.start_cl({"apply"});
    for (auto* one : {stop.get(), interrupted.get(), again.get(), apply.get()}) {
      const Result result = one->wait(60s);
      EXPECT_NE(result.code, -1) << "it hangs: " << result;
      EXPECT_EQ(result.err.find("is not possible while"), std::string::npos) << result;
    }
    ASSERT_NO_FATAL_FAILURE(start());
    expect_running();
  }
}

TEST_F(StandIn, WhoseResumeIsInterruptedIsStillWokenByItsUsers) {
  ASSERT_NO_FATAL_FAILURE(start());
  ASSERT_OK(box.cl({"suspend"}));
  auto interrupted = box.start_cl({"start"});
  std::this_thread::sleep_for(30ms);  // in most cases before what is saved is used up
  ::kill(interrupted->pid(), SIGINT);
  interrupted->wait(60s);
  EXPECT_OK(box.cl({"ssh", "--", "true"}));
  expect_running();
  ASSERT_OK(box.cl({"suspend"}));
  for (const pid_t daemon : box.daemons()) ::kill(daemon, SIGTERM);  // as at a logout
  EXPECT_TRUE(eventually(10s, [this] { return box.daemons().empty(); })) << box.process_list();
  EXPECT_EQ(box.state(), "suspended");
  EXPECT_OK(box.cl({"ssh", "--", "true"}));
  expect_running();
}

TEST_F(StandIn, OutputThatNobodyReadsAnyMoreEndsItsProgram) {
  ASSERT_NO_FATAL_FAILURE(start());
  const Result cut =
      box.run({"timeout", "20", "bash", "-c", "\"$0\" ssh -- yes | head -n 1; echo ${PIPESTATUS[0]}", program()});
  EXPECT_EQ(cut.out.substr(cut.out.find('\n') + 1), "141\n") << cut;
}

class KillPoints : public StandIn {
 protected:
  void SetUp() override {
    StandIn::SetUp();
    if (!IsSkipped() && !HasFatalFailure()) start();
  }

  void strike(const Point& point) {
    auto running = box.start_cl({point.command});
    std::this_thread::sleep_for(point.after);  // the instant under test
    if (point.victim == Victim::both) box.kill_daemons();
    if (point.victim == Victim::daemon)  // it comes back by itself while the command that follows wants one, too
      for (const pid_t daemon : box.daemons()) ::kill(daemon, SIGKILL);
    if (point.victim != Victim::daemon)
      for (const pid_t hypervisor : box.hypervisors()) ::kill(hypervisor, SIGKILL);
    const Result result = running->wait(60s);
    ASSERT_NE(result.code, -1) << "it hangs: " << result;
  }

  /// Whatever happened: one more `start` and there is one machine, without anybody's help.
  void expect_recovery(int& resumed) {
    const Result started = box.cl({"start"}, {}, 60s);
    ASSERT_OK(started);
    resumed += started.out.find("is resumed") != std::string::npos ? 1 : 0;
    ASSERT_EQ(box.state(), "running");
    ASSERT_EQ(box.hypervisors().size(), 1u) << box.process_list();
    ASSERT_EQ(read_file_if_exists(box.profile() / "torn").value_or(""), "");
    ASSERT_FALSE(fs::exists(box.profile() / "suspended" / "marker.json"));
  }
};

TEST_F(KillPoints, NeverResumeATornMachineAndNeverNeedAnybody) {
  const unsigned seed = std::random_device{}();
  RecordProperty("seed", std::to_string(seed));
  std::minstd_rand random(seed);
  // How long an undisturbed one takes here, so that the instants are spread over it on any machine.
  const auto suspending = box.cl({"suspend"}).time;
  const auto resuming = box.cl({"start"}).time;
  const auto instant = [&random](std::chrono::milliseconds whole) {
    return std::chrono::milliseconds(std::uniform_int_distribution<long>(0, whole.count() * 5 / 4)(random));
  };
  int resumed = 0;
  for (int done = 0; done < points(); ++done) {
    const auto victim = static_cast<Victim>(std::uniform_int_distribution<int>(0, 2)(random));
    const bool of_suspend = random() % 2 == 0;
    if (!of_suspend) ASSERT_OK(box.cl({"suspend"}));
    const Point point =
        of_suspend ? Point{"suspend", victim, instant(suspending)} : Point{"start", victim, instant(resuming)};
    std::ostringstream text;
    text << "point " << done << " of seed " << seed << ": " << point;
    SCOPED_TRACE(text.str());
    ASSERT_NO_FATAL_FAILURE(strike(point));
    ASSERT_NO_FATAL_FAILURE(expect_recovery(resumed));
  }
  std::cout << points() << " kills, " << resumed << " of the machines were resumed after it\n";
  EXPECT_GT(resumed, 0) << "then nothing was tested";
}

class InterruptPoints : public StandIn {
 protected:
  /// Who is told to end: the command, as by Ctrl-C or a service manager, or the daemon, as at a logout.
  enum class Told { command, daemon };

  /// Returns whether the start was cut short.
  bool interrupt(int signal, Told told, std::chrono::milliseconds after) {
    auto running = box.start_cl({"start"});
    std::this_thread::sleep_for(after);  // the instant under test
    if (told == Told::command) running->signal(signal);
    if (told == Told::daemon)
      for (const pid_t daemon : box.daemons()) ::kill(daemon, signal);
    const Result result = running->wait(60s);
    EXPECT_NE(result.code, -1) << "it hangs: " << result;
    if (result.code == 0) return false;
    if (told == Told::command) {
      // Before it has begun to listen to signals there is nothing that it could clean up.
      EXPECT_TRUE(result.code == 130 || result.code == 128 + signal) << result;
    } else {
      EXPECT_NE(result.err.find("error: "), std::string::npos) << result;
    }
    return true;
  }
};

TEST_F(InterruptPoints, OfAStartLeaveNothingRunningAndTheNextStartWorks) {
  const unsigned seed = std::random_device{}();
  RecordProperty("seed", std::to_string(seed));
  std::minstd_rand random(seed);
  ASSERT_NO_FATAL_FAILURE(start());
  ASSERT_OK(box.cl({"stop"}));
  const Result undisturbed = box.cl({"start"});
  ASSERT_OK(undisturbed);
  ASSERT_OK(box.cl({"stop"}));
  const int rounds = std::max(points() / 4, 2);  // a boot and its end take longer than a resume
  int cut = 0;
  for (int done = 0; done < rounds; ++done) {
    const int signal = random() % 2 == 0 ? SIGINT : SIGTERM;
    const Told told = random() % 4 == 0 ? Told::daemon : Told::command;
    // The first one is early, so that two are enough to cut a start short.
    const long latest = done == 0 ? undisturbed.time.count() / 3 : undisturbed.time.count() * 5 / 4;
    const std::chrono::milliseconds after(std::uniform_int_distribution<long>(0, latest)(random));
    std::ostringstream text;
    text << "point " << done << " of seed " << seed << ": signal " << signal << " to the "
         << (told == Told::command ? "command " : "daemon ") << after.count() << " ms into start";
    SCOPED_TRACE(text.str());
    if (interrupt(signal, told, after)) {
      const auto gone = [this] { return box.processes().empty(); };
      // Of a machine that is complete the daemon may end, and leaves it alone.
      const std::string complete = told == Told::daemon ? "degraded" : "running";
      ASSERT_TRUE(eventually(20s, [&] { return gone() || box.state() == complete; })) << box.process_list();
      if (gone()) {
        ++cut;
        ASSERT_EQ(box.state(), "stopped");
        if (done % 4 != 0) continue;  // the next one is a start, too, whose first half every point shows
      } else {
        // The start was done when the signal was heard.
        EXPECT_GT(after, undisturbed.time / 2) << box.process_list();
      }
    }
    // A machine that was complete outlives its daemon, and this takes it over.
    ASSERT_OK(box.cl({"start"}));
    ASSERT_NO_FATAL_FAILURE(expect_running());
    ASSERT_OK(box.cl({"stop"}));
  }
  std::cout << cut << " of " << rounds << " starts were cut short\n";
  EXPECT_GT(cut, 0) << "then nothing was tested";
  ASSERT_NO_FATAL_FAILURE(start());
  expect_running();
}

// The stand-in must be able to tell: a disk that was written to behind the marker's back.
TEST_F(KillPoints, TheStandInNoticesATornResume) {
  ASSERT_OK(box.cl({"suspend"}));
  const fs::path disk = box.profile() / "data.raw", marker = box.profile() / "suspended" / "marker.json";
  {
    std::fstream file(disk, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-4096, std::ios::end);
    file.write("another", 8);
  }
  const Result refused = box.cl({"start"});
  ASSERT_OK(refused);
  EXPECT_NE(refused.err.find("the disk data.raw has changed since"), std::string::npos) << refused;
  EXPECT_EQ(read_file_if_exists(box.profile() / "torn").value_or(""), "");

  ASSERT_OK(box.cl({"suspend"}));
  std::fstream file(disk, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(-4096, std::ios::end);
  file.write("behind!", 8).flush();
  struct stat facts{};
  ::stat(disk.c_str(), &facts);
  auto content = boost::json::parse(read_file(marker)).as_object();
  auto& stamp = content["disks"].as_object()["data.raw"].as_object();
  stamp["changed"] = static_cast<std::int64_t>(facts.st_ctim.tv_sec);
  stamp["changed_ns"] = static_cast<std::int64_t>(facts.st_ctim.tv_nsec);
  write_atomically(marker, boost::json::serialize(content));
  ASSERT_OK(box.cl({"start"}));
  EXPECT_NE(read_file_if_exists(box.profile() / "torn").value_or(""), "");
}

}  // namespace
}  // namespace cl::e2e
