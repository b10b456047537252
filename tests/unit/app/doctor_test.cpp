#include "src/app/doctor.hpp"

#include <gtest/gtest.h>

namespace cl {
namespace {

constexpr std::uint64_t gib = 1ULL << 30;

TEST(Doctor, SpaceIsJudgedByWhatABuildTakes) {
  EXPECT_EQ(judge_space("/x", 50 * gib).verdict, Verdict::ok);
  EXPECT_EQ(judge_space("/x", 5 * gib).verdict, Verdict::warning);
  EXPECT_EQ(judge_space("/x", gib).verdict, Verdict::problem);
  EXPECT_FALSE(judge_space("/x", gib).remedy.empty());
}

TEST(Doctor, AHomeOfOthersIsAProblemAndAnOpenOneAWarning) {
  EXPECT_EQ(judge_home("/x", 0700, true).verdict, Verdict::ok);
  EXPECT_EQ(judge_home("/x", 0750, true).verdict, Verdict::warning);
  EXPECT_EQ(judge_home("/x", 0700, false).verdict, Verdict::problem);
}

TEST(Doctor, WhatCannotBeHiddenIsAProblem) {
  Share share;
  EXPECT_EQ(judge_hidden({share}, "an old kernel").verdict, Verdict::ok) << "there is nothing to hide";
  share.hidden = {"/h/.ssh", "/h/.aws"};
  share.kept = {"/h/.bashrc"};
  EXPECT_EQ(judge_hidden({share}, "").verdict, Verdict::ok);
  EXPECT_NE(judge_hidden({share}, "").text.find("2 paths"), std::string::npos);
  EXPECT_EQ(judge_hidden({share}, "an old kernel").verdict, Verdict::problem);
  EXPECT_NE(judge_hidden({share}, "an old kernel").remedy.find("config set share_hide []"), std::string::npos);
}

TEST(Doctor, RootIsWarnedOfItself) {
  EXPECT_FALSE(judge_user(1000));
  ASSERT_TRUE(judge_user(0));
  EXPECT_EQ(judge_user(0)->verdict, Verdict::warning);
}

TEST(Doctor, AnOldImageIsAWarningWithAWayToANewOne) {
  const std::string made = "2026-01-31T12:00:00Z";
  constexpr std::int64_t then = 1769860800, day = 86400;
  EXPECT_EQ(judge_image_age("trixie", made, then + 59 * day).verdict, Verdict::ok);
  const Finding old = judge_image_age("trixie", made, then + 60 * day);
  EXPECT_EQ(old.verdict, Verdict::warning);
  EXPECT_NE(old.text.find("trixie is 60 days old"), std::string::npos) << old.text;
  EXPECT_NE(old.remedy.find("image prune"), std::string::npos);
  EXPECT_EQ(judge_image_age("trixie", "some day", then).verdict, Verdict::ok) << "not known";
}

TEST(Doctor, SshThatCannotBeConfinedIsAProblem) {
  EXPECT_EQ(judge_ssh("libssh2 1.10.0", "").verdict, Verdict::ok);
  EXPECT_NE(judge_ssh("libssh2 1.10.0", "").text.find("libssh2 1.10.0"), std::string::npos);
  EXPECT_EQ(judge_ssh("libssh2 1.10.0", "no seccomp").verdict, Verdict::problem);
}

TEST(Doctor, ANetworkThatTheMachineHidesIsAWarning) {
  const HostFacts host{4, ByteSize::gib(8), "linux", "x86_64"};
  const std::vector<Finding> none = judge_networks("default", {}, host, {});
  ASSERT_EQ(none.size(), 1u);
  EXPECT_EQ(none[0].verdict, Verdict::ok);
  const std::vector<Finding> two =
      judge_networks("default", {}, host,
                     {{Subnet::parse("10.0.0.0/8").value(), "tun0"}, {Subnet::parse("172.16.0.0/12").value(), "tun0"}});
  ASSERT_EQ(two.size(), 2u);
  for (const Finding& one : two) {
    EXPECT_EQ(one.verdict, Verdict::warning);
    EXPECT_NE(one.remedy.find("config set network."), std::string::npos) << one.remedy;
  }
}

TEST(Doctor, ADegradedMachineIsAProblemAndOneThatDiedAWarning) {
  Observed seen;
  seen.state.phase = "running";
  EXPECT_EQ(judge_state(seen).verdict, Verdict::ok);
  seen.state.phase = "degraded";
  seen.state.reason = "the guest does not answer";
  EXPECT_EQ(judge_state(seen).verdict, Verdict::problem);
  EXPECT_NE(judge_state(seen).text.find("does not answer"), std::string::npos);
  seen.state.phase = "stopped";
  EXPECT_EQ(judge_state(seen).verdict, Verdict::warning);
  seen.state.reason.clear();
  EXPECT_EQ(judge_state(seen).verdict, Verdict::ok) << "stopped because somebody asked";
}

TEST(Doctor, PlatformsAreShownWithWhatRunsThemAndWhatToDo) {
  const auto all = judge_platforms({{"linux/arm64", "native", true, ""},
                                    {"linux/amd64", "qemu-user", true, "rosetta failed: exit code 1"},
                                    {"linux/s390x", "none", false, "qemu-user is not installed in the machine"}});
  ASSERT_EQ(all.size(), 3U);
  EXPECT_EQ(all[0].verdict, Verdict::ok);
  EXPECT_EQ(all[1].verdict, Verdict::warning);
  EXPECT_NE(all[1].text.find("rosetta failed"), std::string::npos);
  EXPECT_EQ(all[2].verdict, Verdict::warning);
  EXPECT_NE(all[2].remedy.find("apt-get install"), std::string::npos);
}

}  // namespace
}  // namespace cl
