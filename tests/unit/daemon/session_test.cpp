#include "src/daemon/session.hpp"

#include <gtest/gtest.h>

#include <boost/json/serialize.hpp>
#include <cerrno>

#include "tests/fakes/failing_files.hpp"
#include "tests/unit/daemon/session_lab.hpp"

// Transitions as a user orders them, with a hypervisor and a guest in memory.

namespace cl {
namespace {

using namespace std::chrono_literals;
using test::outcome;
using test::play;
using test::SessionLab;
using test::until;

StartOrder order_with(Settings settings) {
  StartOrder order;
  order.settings = std::move(settings);
  return order;
}

TEST(Session, StartsSuspendsResumesAndStops) {
  SessionLab lab;
  auto life = [&](Session& session) -> asio::awaitable<void> {
    EXPECT_EQ(co_await outcome(session.start({})), "");
    EXPECT_EQ(to_string(session.phase()), "running");
    EXPECT_EQ(co_await outcome(session.suspend()), "");
    EXPECT_EQ(to_string(session.phase()), "suspended");
    EXPECT_FALSE(lab.runs());
    EXPECT_EQ(co_await outcome(session.start({})), "");
    EXPECT_EQ(to_string(session.phase()), "running");
    EXPECT_EQ(lab.guest->connections, 1) << "the session to the guest is kept over a suspend";
    EXPECT_EQ(co_await outcome(session.stop(false)), "");
    EXPECT_EQ(to_string(session.phase()), "stopped");
  };
  play(lab, life);
  EXPECT_EQ(lab.saved_state()->phase, "stopped");
}

TEST(Session, AMachineOutlivesItsDaemonAndIsTakenOver) {
  SessionLab lab;
  auto begin = [&](Session& session) -> asio::awaitable<void> { EXPECT_EQ(co_await outcome(session.start({})), ""); };
  play(lab, begin);
  ASSERT_TRUE(lab.runs());
  State before = *lab.saved_state();
  before.since -= 1000;
  write_state(lab.paths, before);
  auto go_on = [&](Session& session) -> asio::awaitable<void> {
    EXPECT_EQ(co_await outcome(session.start({})), "");
    EXPECT_EQ(to_string(session.phase()), "running");
    EXPECT_EQ(session.state().since, before.since) << "the machine runs since then, whichever daemon looks after it";
    EXPECT_EQ(lab.driver->plans.size(), 1U) << "it was booted again";
    EXPECT_EQ(co_await outcome(session.stop(false)), "");
  };
  play(lab, go_on);
}

TEST(Session, ASavedMachineIsFoundByTheNextDaemon) {
  SessionLab lab;
  auto begin = [&](Session& session) -> asio::awaitable<void> {
    EXPECT_EQ(co_await outcome(session.start({})), "");
    EXPECT_EQ(co_await outcome(session.suspend()), "");
  };
  play(lab, begin);
  auto go_on = [&](Session& session) -> asio::awaitable<void> {
    EXPECT_EQ(co_await outcome(session.start({})), "");
    EXPECT_TRUE(lab.driver->plans.back().incoming);
    EXPECT_EQ(co_await outcome(session.stop(false)), "");
  };
  play(lab, go_on);
}

TEST(Session, ASavedMachineWaitsForADataDiskThatIsGone) {
  SessionLab lab;
  const fs::path away = lab.directory / "away.raw";
  auto life = [&](Session& session) -> asio::awaitable<void> {
    EXPECT_EQ(co_await outcome(session.start({})), "");
    EXPECT_EQ(co_await outcome(session.suspend()), "");
    fs::rename(lab.paths.data_disk, away);
    StartOrder cold;
    cold.cold = true;
    for (const StartOrder& order : {StartOrder{}, cold}) {
      const std::string refused = co_await outcome(session.start(order));
      EXPECT_NE(refused.find("the data disk of profile 'default' is gone"), std::string::npos) << refused;
      EXPECT_TRUE(is<phase::Saved>(session.phase())) << "what was saved was given up";
    }
    fs::rename(away, lab.paths.data_disk);
    // A rename is a change of the file's times: this one boots. What counts is that it does.
    EXPECT_EQ(co_await outcome(session.start({})), "");
    EXPECT_EQ(co_await outcome(session.suspend()), "");
    fs::remove(lab.paths.data_disk);
    StartOrder anew;
    anew.new_data = true;
    EXPECT_EQ(co_await outcome(session.start(anew)), "");
    EXPECT_FALSE(lab.driver->plans.back().incoming);
    EXPECT_EQ(co_await outcome(session.stop(false)), "");
  };
  play(lab, life);
}

TEST(Session, AResumeThatCannotBePreparedLeavesTheMachineSuspended) {
  SessionLab lab;
  auto life = [&](Session& session) -> asio::awaitable<void> {
    EXPECT_EQ(co_await outcome(session.start({})), "");
    EXPECT_EQ(co_await outcome(session.suspend()), "");
    lab.guest->plan_failure = Error(Errc::io, "cannot write data_owner").because("No space left on device");
    EXPECT_EQ(co_await outcome(session.start({})), "cannot write data_owner: No space left on device");
    EXPECT_TRUE(is<phase::Saved>(session.phase())) << to_string(session.phase());
    lab.guest->plan_failure.reset();
    EXPECT_EQ(co_await outcome(session.start({})), "");
    EXPECT_TRUE(lab.driver->plans.back().incoming) << "what was saved was given up";
    EXPECT_EQ(co_await outcome(session.stop(false)), "");
  };
  play(lab, life);
}

TEST(Session, AMachineThatCannotBeSavedIsPaused) {
  SessionLab lab;
  lab.driver->behaviour.cannot_save = "its QEMU is too old";
  auto life = [&](Session& session) -> asio::awaitable<void> {
    EXPECT_EQ(co_await outcome(session.start({})), "");
    EXPECT_EQ(co_await outcome(session.suspend()), "");
    EXPECT_TRUE(is<phase::Paused>(session.phase()));
    EXPECT_TRUE(lab.driver->is_paused(lab.paths.run_directory));
    EXPECT_EQ(co_await outcome(session.start({})), "");
    EXPECT_FALSE(lab.driver->is_paused(lab.paths.run_directory));
    EXPECT_EQ(lab.driver->plans.size(), 1U);
    EXPECT_EQ(co_await outcome(session.suspend()), "");
    EXPECT_EQ(co_await outcome(session.stop(false)), "");
    EXPECT_FALSE(lab.runs());
  };
  play(lab, life);
}

TEST(Session, AHypervisorThatDiesIsNoticedAndTheNextStartBoots) {
  SessionLab lab;
  auto life = [&](Session& session) -> asio::awaitable<void> {
    EXPECT_EQ(co_await outcome(session.start({})), "");
    lab.driver->crash(lab.paths.run_directory);
    co_await until([&] { return is<phase::Stopped>(session.phase()); });
    EXPECT_NE(session.state().reason.find("signal 9"), std::string::npos);
    EXPECT_EQ(co_await outcome(session.start({})), "");
    EXPECT_EQ(lab.driver->plans.size(), 2U);
    EXPECT_EQ(co_await outcome(session.stop(false)), "");
  };
  play(lab, life);
}

TEST(Session, AHypervisorThatDiesAsAStartReturnsIsNoticedToo) {
  for (const bool is_started_at_once : {false, true}) {
    SessionLab lab;
    auto life = [&](Session& session) -> asio::awaitable<void> {
      const auto started = session.start({});
      co_await until([&] { return is<phase::Running>(session.phase()); });
      {
        // What the start changed is not written yet, and it waits a moment for that.
        const test::FailingFiles full(lab.directory.path(), 1, ENOSPC, test::FailingFiles::Mode::from_on);
        lab.driver->crash(lab.paths.run_directory);
        EXPECT_EQ(co_await outcome(started), "");
      }
      if (is_started_at_once) {
        EXPECT_EQ(co_await outcome(session.start({})), "");
        EXPECT_TRUE(is<phase::Running>(session.phase()));
        EXPECT_TRUE(lab.runs());
      } else {
        co_await until([&] { return is<phase::Stopped>(session.phase()); });
        EXPECT_NE(session.state().reason.find("signal 9"), std::string::npos);
      }
      EXPECT_EQ(co_await outcome(session.stop(false)), "");
    };
    play(lab, life);
  }
}

TEST(Session, AStartThatComesBeforeAKilledHypervisorIsSeenToHaveEndedBoots) {
  SessionLab lab;
  auto life = [&](Session& session) -> asio::awaitable<void> {
    EXPECT_EQ(co_await outcome(session.start({})), "");
    lab.driver->behaviour.notice_after = 100ms;
    lab.driver->crash(lab.paths.run_directory);
    lab.guest->on_change(false);
    EXPECT_TRUE(is<phase::Degraded>(session.phase()));
    EXPECT_EQ(co_await outcome(session.start({})), "");
    EXPECT_EQ(lab.driver->plans.size(), 2U);
    EXPECT_TRUE(lab.runs());
    lab.driver->behaviour.notice_after = 0ms;
    EXPECT_EQ(co_await outcome(session.stop(false)), "");
  };
  play(lab, life);
}

TEST(Session, AHypervisorThatCrashesAtItsBootIsGivenOneMoreTry) {
  SessionLab lab;
  int crashes_left = 1;
  bool by_itself = true;
  lab.guest->at_set_up = [&] {
    lab.guest->provision_failure.reset();
    if (crashes_left-- <= 0) return;
    lab.guest->provision_failure = Error(Errc::guest_failed, "the machine ended");
    lab.driver->crash(lab.paths.run_directory, {false, "QEMU was killed by a signal", by_itself});
  };
  auto life = [&](Session& session) -> asio::awaitable<void> {
    auto started = session.start({});
    EXPECT_EQ(co_await outcome(started), "");
    const auto result = co_await started->result();
    EXPECT_EQ(result.at("notes").as_array().at(0).as_string(),
              "the machine was booted twice: at first QEMU was killed by a signal");
    EXPECT_EQ(lab.driver->plans.size(), 2U);
    EXPECT_EQ(co_await outcome(session.stop(false)), "");

    crashes_left = 2;  // who crashes again is not to be helped
    EXPECT_EQ(co_await outcome(session.start({})), "the machine ended");
    EXPECT_EQ(lab.driver->plans.size(), 4U);
    EXPECT_TRUE(is<phase::Stopped>(session.phase()));

    crashes_left = 1;
    by_itself = false;  // somebody wants it to be gone
    EXPECT_EQ(co_await outcome(session.start({})), "the machine ended");
    EXPECT_EQ(lab.driver->plans.size(), 5U);
    EXPECT_FALSE(lab.runs());
  };
  play(lab, life);
}

TEST(Session, AFailedStartLeavesNothingAndSaysWhy) {
  SessionLab lab;
  lab.guest->provision_failure = Error(Errc::guest_failed, "Docker failed to start in the guest");
  auto life = [&](Session& session) -> asio::awaitable<void> {
    EXPECT_EQ(co_await outcome(session.start({})), "Docker failed to start in the guest");
    EXPECT_FALSE(lab.runs());
    EXPECT_EQ(session.state().reason, "the last start failed: Docker failed to start in the guest");
    lab.guest->provision_failure.reset();
    EXPECT_EQ(co_await outcome(session.start({})), "");
    EXPECT_EQ(co_await outcome(session.stop(false)), "");
  };
  play(lab, life);
}

TEST(Session, AStopInterruptsAStart) {
  SessionLab lab;
  lab.guest->hangs = true;
  auto life = [&](Session& session) -> asio::awaitable<void> {
    const auto start = session.start({});
    co_await until([&] { return lab.runs(); });
    EXPECT_EQ(co_await outcome(session.stop(false)), "");
    EXPECT_EQ(co_await outcome(start), "interrupted");
    EXPECT_TRUE(is<phase::Stopped>(session.phase()));
    EXPECT_FALSE(lab.runs());
  };
  play(lab, life);
}

TEST(Session, AStartWithOtherFlagsRunsBehindTheOneUnderWay) {
  SessionLab lab;
  auto life = [&](Session& session) -> asio::awaitable<void> {
    const auto first = session.start({});
    EXPECT_EQ(session.start({}), first) << "an equal order joins";
    const auto second = session.start(order_with({{"idle", "11m"}}));
    EXPECT_NE(second, first);
    EXPECT_EQ(co_await outcome(second), "");
    EXPECT_EQ(session.state().profile.idle, 11min);
    EXPECT_EQ(co_await outcome(session.stop(false)), "");
  };
  play(lab, life);
}

TEST(Session, AColdStartIsNoWake) {
  SessionLab lab;
  auto life = [&](Session& session) -> asio::awaitable<void> {
    EXPECT_EQ(co_await outcome(session.start({})), "");
    EXPECT_EQ(co_await outcome(session.suspend()), "");
    StartOrder wake;
    wake.wake = true;
    session.start(wake);
    StartOrder cold;
    cold.cold = true;
    EXPECT_EQ(co_await outcome(session.start(cold)), "");
    EXPECT_FALSE(lab.driver->plans.back().incoming) << "it was resumed";
    EXPECT_EQ(co_await outcome(session.stop(false)), "");
  };
  play(lab, life);
}

TEST(Session, AForcedStopEndsASuspendThatHangs) {
  SessionLab lab;
  lab.driver->behaviour.hangs_at = "save";
  auto life = [&](Session& session) -> asio::awaitable<void> {
    EXPECT_EQ(co_await outcome(session.start({})), "");
    const auto suspend = session.suspend();
    co_await until([&] { return is<phase::Suspending>(session.phase()); });
    EXPECT_EQ(co_await outcome(session.stop(true)), "");
    EXPECT_NE(co_await outcome(suspend), "");
    EXPECT_TRUE(is<phase::Stopped>(session.phase()));
    EXPECT_FALSE(lab.runs());
  };
  play(lab, life);
}

TEST(Session, ABlockedMachineSaysSoAndGoesOnByItself) {
  SessionLab lab;
  auto life = [&](Session& session) -> asio::awaitable<void> {
    EXPECT_EQ(co_await outcome(session.start({})), "");
    {
      const test::FailingFiles full(lab.directory.path(), 0, ENOSPC, test::FailingFiles::Mode::no_room);
      lab.driver->block(lab.paths.run_directory, "No space left on device");
      co_await until([&] { return is<phase::Blocked>(session.phase()); });
      EXPECT_NE(session.state().reason.find("No space left on device"), std::string::npos);
      EXPECT_NE(co_await outcome(session.start({})), "");
      std::string refused;
      try {
        co_await session.guest();
      } catch (const Error& error) {
        refused = error.remedy();
      }
      EXPECT_EQ(refused, "make room on the disk; it goes on by itself");
    }
    co_await until([&] { return is<phase::Running>(session.phase()); });
    EXPECT_EQ(co_await outcome(session.start({})), "");
    EXPECT_EQ(co_await outcome(session.stop(false)), "");
  };
  play(lab, life);
}

TEST(Session, ForeignThingsInTheRunDirectoryKeepNothingFromEnding) {
  SessionLab lab;
  auto life = [&](Session& session) -> asio::awaitable<void> {
    EXPECT_EQ(co_await outcome(session.start({})), "");
    fs::create_directories(lab.paths.run_directory / "foreign" / "folder");
    lab.driver->crash(lab.paths.run_directory);
    co_await until([&] { return is<phase::Stopped>(session.phase()); });
    EXPECT_EQ(co_await outcome(session.start({})), "");
    fs::remove_all(lab.paths.run_directory);
    lab.driver->crash(lab.paths.run_directory);
    co_await until([&] { return is<phase::Stopped>(session.phase()); });
  };
  play(lab, life);
}

TEST(Session, ADeleteKeepsTheDataAndNothingComesBack) {
  SessionLab lab;
  auto life = [&](Session& session) -> asio::awaitable<void> {
    EXPECT_EQ(co_await outcome(session.start({})), "");
    EXPECT_EQ(co_await outcome(session.remove(false)), "");
    std::vector<std::string> left;
    for (const auto& entry : fs::directory_iterator(lab.paths.directory)) left.push_back(entry.path().filename());
    std::sort(left.begin(), left.end());
    EXPECT_EQ(left, (std::vector<std::string>{"data.raw", "lock"}));
  };
  play(lab, life);
}

TEST(Session, EveryOrderFromEveryPhaseEndsInAStablePhase) {
  const std::vector<std::string> phases{"stopped", "running", "suspended", "paused", "degraded"};
  const std::vector<std::string> orders{"start", "suspend", "stop", "force", "apply", "remove"};
  for (const std::string& from : phases)
    for (const std::string& order : orders) {
      SCOPED_TRACE(order + " of a machine that is " + from);
      SessionLab lab;
      if (from == "paused") lab.driver->behaviour.cannot_save = "its QEMU is too old";
      auto life = [&](Session& session) -> asio::awaitable<void> {
        if (from != "stopped") EXPECT_EQ(co_await outcome(session.start({})), "");
        if (from == "suspended" || from == "paused") EXPECT_EQ(co_await outcome(session.suspend()), "");
        if (from == "degraded") {
          lab.guest->provision_failure = Error(Errc::guest_failed, "no");
          co_await outcome(session.apply({{"idle", "3m"}}));
          lab.guest->provision_failure.reset();
        }
        const auto job = order == "start"     ? session.start({})
                         : order == "suspend" ? session.suspend()
                         : order == "apply"   ? session.apply({})
                         : order == "remove"  ? session.remove(true)
                                              : session.stop(order == "force");
        co_await outcome(job);
        EXPECT_TRUE(is_stable(session.phase())) << to_string(session.phase());
        if (order == "remove") co_return;
        EXPECT_EQ(co_await outcome(session.start({})), "");
        EXPECT_EQ(co_await outcome(session.stop(false)), "");
        EXPECT_FALSE(lab.runs());
      };
      play(lab, life);
    }
}

/// At each exchange with the hypervisor: it never answers. The order's own patience is longer than a test's, so it is
/// a forced stop that ends it; after that everything works.
class HangingHypervisor : public ::testing::TestWithParam<const char*> {};

TEST_P(HangingHypervisor, IsEndedByForceAndStartsAgain) {
  SessionLab lab;
  auto life = [&](Session& session) -> asio::awaitable<void> {
    const std::string call = GetParam();
    const bool at_resume = call == "load" || call == "resume";
    const bool at_suspend = call == "pause" || call == "save";
    if (at_resume || at_suspend) EXPECT_EQ(co_await outcome(session.start({})), "");
    if (at_resume) EXPECT_EQ(co_await outcome(session.suspend()), "");
    lab.driver->behaviour.hangs_at = call;
    const std::size_t calls = lab.driver->calls.size();
    const auto job = at_suspend ? session.suspend() : session.start({});
    co_await until([&] {
      return std::find(lab.driver->calls.begin() + static_cast<std::ptrdiff_t>(calls), lab.driver->calls.end(),
                       call == "boot" ? "boot default" : call) != lab.driver->calls.end();
    });
    EXPECT_EQ(co_await outcome(session.stop(true)), "");
    EXPECT_TRUE(is_stable(session.phase()));
    lab.driver->behaviour.hangs_at.clear();
    EXPECT_EQ(co_await outcome(session.start({})), "");
    EXPECT_EQ(co_await outcome(session.stop(false)), "");
    EXPECT_FALSE(lab.runs());
  };
  play(lab, life);
}

INSTANTIATE_TEST_SUITE_P(AtEach, HangingHypervisor,
                         ::testing::Values("boot", "allow_reboot", "pause", "save", "load", "resume"),
                         [](const auto& call) { return std::string(call.param); });

/// The same without force: each wait has a limit of its own, and the failure names what was waited for.
struct Hang {
  const char* call;
  const char* order;  ///< in which it is met: "start", "suspend", "resume", "stop"
  const char* told;   ///< by the order's error; behind "~": by a note of an order that succeeds; "~": by nobody
};

class HangingExchange : public ::testing::TestWithParam<Hang> {};

TEST_P(HangingExchange, EndsAndIsNamed) {
  const Hang hang = GetParam();
  const std::string call = hang.call, order = hang.order;
  std::string told = hang.told;
  const bool succeeds = told.starts_with("~");
  if (succeeds) told.erase(0, 1);
  SessionLab lab(call == "version" ? "containerd" : "none");
  lab.patience.boot = lab.patience.answer = lab.patience.memory = lab.patience.services = 50ms;
  lab.patience.set_up = lab.patience.version = lab.patience.power_off = 50ms;
  auto life = [&](Session& session) -> asio::awaitable<void> {
    if (order != "start") EXPECT_EQ(co_await outcome(session.start({})), "");
    if (order == "resume") EXPECT_EQ(co_await outcome(session.suspend()), "");
    lab.driver->behaviour.hangs_at = lab.guest->hangs_at = call;
    lab.guest->hangs = call == "provision";
    const auto job = order == "suspend" ? session.suspend() : order == "stop" ? session.stop(false) : session.start({});
    std::string said = co_await outcome(job);
    if (succeeds) {
      EXPECT_EQ(said, "");
      const boost::json::object result = co_await job->result();
      if (!told.empty()) said = boost::json::serialize(result.at("notes"));
    }
    EXPECT_NE(said.find(told), std::string::npos) << said;
    EXPECT_TRUE(is_stable(session.phase())) << to_string(session.phase());
    lab.driver->behaviour.hangs_at.clear();
    lab.guest->hangs_at.clear();
    lab.guest->hangs = false;
    EXPECT_EQ(co_await outcome(session.start({})), "");
    EXPECT_EQ(co_await outcome(session.stop(false)), "");
    EXPECT_FALSE(lab.runs());
  };
  play(lab, life);
}

INSTANTIATE_TEST_SUITE_P(
    AtEach, HangingExchange,
    ::testing::Values(Hang{"saving", "start", "looking at what the hypervisor can took too long"},
                      Hang{"boot", "start", "starting the hypervisor took too long"},
                      Hang{"allow_reboot", "start", "allowing the guest to reboot took too long"},
                      Hang{"provision", "start", "it is at 'its beginning' since"},
                      Hang{"version", "start", "the answer of containerd took too long"},
                      Hang{"quiesce", "suspend", "bringing the connections to the guest to rest took too long"},
                      Hang{"pause", "suspend", "stopping the guest's CPUs took too long"},
                      Hang{"save", "suspend", "saving the memory took too long"}, Hang{"detach", "suspend", "~"},
                      Hang{"saving", "resume", "looking at what the hypervisor can took too long"},
                      Hang{"reattach", "resume", "~connecting to the machine that is to be resumed took too long"},
                      Hang{"load", "resume", "~loading the memory took too long"},
                      Hang{"resume", "resume", "~letting the guest's CPUs go on took too long"},
                      Hang{"power_off", "stop", "~"}),
    [](const auto& hang) { return std::string(hang.param.order) + "_" + hang.param.call; });

TEST(Session, AMachineThatHangsAtATakeOverIsUnreachableUntilItEnds) {
  SessionLab lab;
  lab.patience.answer = 50ms;
  auto begin = [&](Session& session) -> asio::awaitable<void> { EXPECT_EQ(co_await outcome(session.start({})), ""); };
  play(lab, begin);
  lab.driver->behaviour.hangs_at = "attach";
  auto go_on = [&](Session& session) -> asio::awaitable<void> {
    EXPECT_EQ(co_await outcome(session.start({})), "the machine of profile 'default' runs but does not answer");
    EXPECT_TRUE(is<phase::Unreachable>(session.phase())) << to_string(session.phase());
    EXPECT_TRUE(lab.runs()) << "its containers may be well";
    lab.driver->crash(lab.paths.run_directory);
    lab.driver->behaviour.hangs_at.clear();
    EXPECT_EQ(co_await outcome(session.start({})), "");
    EXPECT_EQ(co_await outcome(session.stop(false)), "");
  };
  play(lab, go_on);
}

TEST(Session, ADaemonWhoseLastStateIsNotWrittenStaysUntilItIs) {
  SessionLab lab;
  auto life = [&](Session& session) -> asio::awaitable<void> {
    EXPECT_EQ(co_await outcome(session.start({})), "");
    {
      const test::FailingFiles full(lab.directory.path(), 1, ENOSPC, test::FailingFiles::Mode::from_on);
      EXPECT_EQ(co_await outcome(session.stop(false)), "");
      EXPECT_FALSE(session.idle()) << "nobody else knows that it was stopped";
      EXPECT_EQ(lab.saved_state()->phase, "running");
    }
    Event ended(co_await asio::this_coro::executor);
    session.on_idle([&] { ended.set(); });
    co_await with_timeout(10s, "writing the state", ended.wait());
    EXPECT_TRUE(session.idle());
    EXPECT_EQ(lab.saved_state()->phase, "stopped");
    session.on_idle({});
  };
  play(lab, life);
}

TEST(Session, AStopSaysThatTheGuestCannotPowerOffSinceThisComputersDiskIsFull) {
  SessionLab lab;
  lab.driver->behaviour.ignores_power_off = true;
  lab.patience.power_off = 200ms;
  auto life = [&](Session& session) -> asio::awaitable<void> {
    EXPECT_EQ(co_await outcome(session.start({})), "");
    const test::FailingFiles full(lab.directory.path(), 0, ENOSPC, test::FailingFiles::Mode::no_room);
    const auto stop = session.stop(false);
    co_await until([&] { return lab.driver->calls.back() == "power_off"; });
    lab.driver->block(lab.paths.run_directory, "No space left on device");
    std::string said;
    std::size_t position = 0;
    while (const auto line = co_await stop->next(position)) said += line->text + "\n";
    const std::string what = "cannot write to its disk on this computer: No space left on device";
    EXPECT_NE(said.find(what + "; make room there, or it is ended"), std::string::npos) << said;
    const boost::json::object result = co_await stop->result();
    const std::string notes = boost::json::serialize(result.at("notes"));
    EXPECT_NE(notes.find(what), std::string::npos) << notes;
  };
  play(lab, life);
}

}  // namespace
}  // namespace cl
