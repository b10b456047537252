#include <boost/json.hpp>

#include "src/base/file.hpp"
#include "tests/e2e/sandbox.hpp"

// Settings that must be felt in the machine, and another runtime in a profile beside it. They build on each other.

namespace cl::e2e {
namespace {

class Settings : public testing::Test {
 protected:
  static void SetUpTestSuite() { box = new Sandbox; }
  static void TearDownTestSuite() { delete box; }
  void SetUp() override { ASSERT_TRUE(intact) << "an earlier step failed, this one stands on it"; }
  void TearDown() override { intact = intact && !HasFatalFailure(); }
  static Result cl(std::vector<std::string> args) { return box->cl(std::move(args), {}, 1200s); }
  static std::string guest(const std::string& command) { return cl({"ssh", "--", command}).out; }
  /// When dockerd was started, as systemd knows it.
  static std::string dockerd() { return guest("systemctl show -p MainPID --value docker.service"); }

  static Sandbox* box;
  static bool intact;
};
Sandbox* Settings::box = nullptr;
bool Settings::intact = true;

TEST_F(Settings, AreAppliedToARunningMachineAndOnlyWhatDiffersRestartsDockerd) {
  ASSERT_OK(cl({"start"}));
  const std::string before = dockerd();
  ASSERT_OK(cl({"config", "set", "env", "GREETING=it's me"}));
  ASSERT_OK(cl({"config", "set", "network.hosts", "somewhere.test=10.9.8.7"}));
  ASSERT_OK(cl({"apply"}));
  EXPECT_EQ(dockerd(), before) << "nothing that dockerd reads has changed";
  EXPECT_EQ(guest("echo $GREETING"), "it's me\n");
  EXPECT_NE(guest("cat /etc/hosts").find("10.9.8.7 somewhere.test\n"), std::string::npos);

  ASSERT_OK(cl({"config", "set", "docker", R"({"labels": ["kind=test"]})"}));
  ASSERT_OK(cl({"config", "set", "registries.insecure", "10.0.2.2:5000"}));
  ASSERT_OK(cl({"apply"}));
  const std::string after = dockerd();
  EXPECT_NE(after, before);
  const Result info = box->docker({"info", "--format",
                                   "{{.Labels}} {{json .RegistryConfig.InsecureRegistryCIDRs}} "
                                   "{{json .RegistryConfig.IndexConfigs}}"});
  EXPECT_NE(info.out.find("kind=test"), std::string::npos) << info;
  EXPECT_NE(info.out.find("10.0.2.2:5000"), std::string::npos) << info;
  ASSERT_OK(cl({"apply"}));
  EXPECT_EQ(dockerd(), after) << "and nothing has since";
}

TEST_F(Settings, ThatGoComeToWhatWasThereBefore) {
  for (const char* key : {"env", "network.hosts", "docker", "registries.insecure"})
    ASSERT_OK(cl({"config", "unset", key}));
  ASSERT_OK(cl({"apply"}));
  EXPECT_EQ(guest("cat /etc/hosts").find("somewhere.test"), std::string::npos);
  EXPECT_EQ(guest("echo \"<$GREETING>\""), "<>\n");
  EXPECT_EQ(guest("ls /etc/docker"), "daemon.json\n");
  EXPECT_EQ(box->docker({"info", "--format", "{{.Labels}}"}).out, "[]\n");
}

}  // namespace
}  // namespace cl::e2e
