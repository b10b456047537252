#include "tests/e2e/shared_machine.hpp"

#include <gtest/gtest-spi.h>
#include <signal.h>

// What a test does to a machine that it shares is told of this test, and reaches no other one. The second of these ends
// the machine of all tests before it.

namespace cl::e2e {
namespace {

/// What the machine's look after a test finds fault with.
std::string faults_found() {
  testing::TestPartResultArray failures;
  {
    testing::ScopedFakeTestPartResultReporter instead(
        testing::ScopedFakeTestPartResultReporter::INTERCEPT_ONLY_CURRENT_THREAD, &failures);
    docker_machine().end();
  }
  std::string text;
  for (int i = 0; i < failures.size(); ++i) text += failures.GetTestPartResult(i).message() + std::string("\n");
  return text;
}

using Sharing = OnDocker;

TEST_F(Sharing, WhatATestLeavesFailsItAndIsRemoved) {
  const auto machine = box->hypervisors();
  ASSERT_OK(docker({"network", "create", "left"}));
  ASSERT_OK(docker(
      {"run", "-d", "--name", "left", "--network", "left", "-p", "80", "-v", "left:/v", "box", "sleep", "1000"}));
  ASSERT_OK(cl({"config", "set", "idle", "77m"}));
  box->set("LEFT=1");
  const std::string told = faults_found();
  for (const char* what : {"the container left", "the volume left", "the network left", "other settings", "variables"})
    EXPECT_NE(told.find(std::string("Sharing.WhatATestLeavesFailsItAndIsRemoved left ") + what), std::string::npos)
        << what << " is not in\n"
        << told;
  EXPECT_EQ(docker({"ps", "--all", "--quiet"}).out, "");
  EXPECT_NE(cl({"config", "get", "idle"}).out, "77m\n");
  EXPECT_EQ(box->hypervisors(), machine) << "the others need not wait for a boot";
  EXPECT_EQ(faults_found(), "");
}

TEST_F(Sharing, OneThatIsBrokenIsReplaced) {
  const fs::path root = box->root();
  for (const pid_t hypervisor : box->hypervisors()) ::kill(hypervisor, SIGKILL);
  const std::string told = faults_found();
  EXPECT_NE(told.find("Sharing.OneThatIsBrokenIsReplaced broke ("), std::string::npos) << told;
  EXPECT_NE(told.find("the shared machine 'docker'"), std::string::npos) << told;
  EXPECT_FALSE(fs::exists(root));
}

}  // namespace
}  // namespace cl::e2e
