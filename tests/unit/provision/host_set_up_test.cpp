#include "provision/host_set_up.hpp"

#include <gtest/gtest.h>

namespace cl {
namespace {

RemoteFacts debian() {
  RemoteFacts facts = read_remote_facts(
      "fact kernel Linux\nfact architecture x86_64\nfact user me\nfact system Debian GNU/Linux 12 (bookworm)\n"
      "fact apt yes\nfact systemd yes\nfact root sudo\nfact free 9000000\nfact time 1700000000\nnonsense\n");
  return facts;
}

std::string verbs(const RemoteFacts& facts) {
  std::string all;
  for (const HostChange& change : plan_host(facts, "build1")) all += (all.empty() ? "" : " ") + change.verb;
  return all;
}

std::string refusal(const RemoteFacts& facts) {
  try {
    plan_host(facts, "build1");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::host_requirement);
    EXPECT_FALSE(error.remedy().empty());
    return error.what();
  }
  return "";
}

TEST(HostSetUp, ReadsWhatTheHostSaysOfItself) {
  const RemoteFacts facts = debian();
  EXPECT_EQ(facts.system, "Debian GNU/Linux 12 (bookworm)");
  EXPECT_EQ(facts.user, "me");
  EXPECT_TRUE(facts.apt && facts.systemd && facts.root);
  EXPECT_FALSE(facts.docker || facts.socket || facts.access);
  EXPECT_EQ(facts.free, 9000000ULL << 10U);
  EXPECT_EQ(facts.time, 1700000000);
}

TEST(HostSetUp, ADockerThatAnswersIsUsedAsItIs) {
  RemoteFacts facts = debian();
  facts.answers = true;
  facts.root = facts.systemd = facts.apt = false;
  EXPECT_EQ(verbs(facts), "");
}

TEST(HostSetUp, BringsWhatIsMissingAndNoMore) {
  RemoteFacts facts = debian();
  EXPECT_EQ(verbs(facts), "install start join");
  facts.user = "root";
  EXPECT_EQ(verbs(facts), "install start");
  facts.docker = true;
  EXPECT_EQ(verbs(facts), "start");
  facts.user = "me";
  facts.socket = true;
  EXPECT_EQ(verbs(facts), "join");
}

TEST(HostSetUp, SaysWhatItCannotDoAndWhoCan) {
  RemoteFacts facts = debian();
  facts.apt = false;
  facts.system = "Fedora Linux 40";
  EXPECT_EQ(refusal(facts), "there is no Docker on build1, which is Fedora Linux 40");
  facts = debian();
  facts.systemd = false;
  EXPECT_EQ(refusal(facts), "there is no Docker on build1 that runs, and no systemd that could start it");
  facts = debian();
  facts.root = false;
  EXPECT_EQ(refusal(facts), "me may not install Docker on build1");
  facts.docker = facts.socket = true;
  EXPECT_EQ(refusal(facts), "me may not use Docker on build1");
  facts = debian();
  facts.free = 1 << 20;
  EXPECT_EQ(refusal(facts), "the disk of build1 is full: Docker takes 1GiB, and 1MiB are free");
}

TEST(HostSetUp, AnOldDockerIsRefused) {
  EXPECT_THROW(require_docker_version("19.03.15", "build1"), Error);
  EXPECT_NO_THROW(require_docker_version("20.10.24+dfsg1", "build1"));
  EXPECT_NO_THROW(require_docker_version("dev", "build1"));
}

}  // namespace
}  // namespace cl
