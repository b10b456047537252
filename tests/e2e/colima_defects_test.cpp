#include <signal.h>

#include <boost/json.hpp>

#include "src/base/file.hpp"
#include "tests/e2e/sandbox.hpp"

// Those of Colima's defects (research: R1 to R17) that need a machine to show, and what settings do to one that runs.
// The tests build on each other, in this order, so that three boots are enough.

namespace cl::e2e {
namespace {

class ColimaDefects : public testing::Test {
 protected:
  static void SetUpTestSuite() { box = new Sandbox; }
  static void TearDownTestSuite() { delete box; }
  void SetUp() override { ASSERT_TRUE(intact) << "an earlier step failed, this one stands on it"; }
  void TearDown() override { intact = intact && !HasFatalFailure(); }
  static Result cl(std::vector<std::string> args) { return box->cl(std::move(args), {}, 600s); }
  static std::string file() { return read_file(box->profile() / "profile.yaml"); }

  static Sandbox* box;
  static bool intact;
};
Sandbox* ColimaDefects::box = nullptr;
bool ColimaDefects::intact = true;

TEST_F(ColimaDefects, R13_ParallelStartsBootOneMachine) {
  std::vector<std::unique_ptr<Process>> starts;
  for (int i = 0; i < 3; ++i) starts.push_back(box->start_cl({"start", "--cpus", "1"}));
  for (auto& one : starts) ASSERT_OK(one->wait(1800s));
  EXPECT_EQ(box->hypervisors().size(), 1u) << box->process_list();
}

TEST_F(ColimaDefects, R01_TheRemoteExitCodeIsOurs) { EXPECT_EQ(cl({"ssh", "--", "exit 42"}).code, 42); }

TEST_F(ColimaDefects, R03_StartOnARunningMachineSavesNoFlags) {
  const std::string before = file();
  const Result again = cl({"start", "--cpus", "2"});
  ASSERT_OK(again);
  EXPECT_NE(again.err.find("cpus is 1 and not 2; 'colima-like restart default' changes that"), std::string::npos)
      << again;
  EXPECT_EQ(file(), before);
}

TEST_F(ColimaDefects, ALiveKeyIsAppliedAndARestartKeyWaits) {
  ASSERT_OK(cl({"config", "set", "idle", "77m"}));
  ASSERT_OK(cl({"config", "set", "memory", "1GiB"}));
  const Result applied = cl({"apply"});
  ASSERT_OK(applied);
  EXPECT_NE(applied.err.find("memory is 2GiB and not 1GiB"), std::string::npos) << applied;
  const Result diff = cl({"config", "diff", "--json"});
  EXPECT_EQ(diff.out.find("idle"), std::string::npos) << diff;
  EXPECT_NE(diff.out.find("memory"), std::string::npos) << diff;
}

TEST_F(ColimaDefects, R04_R05_NoPathGetsAroundTheRulesOfAMachineThatRuns) {
  const std::string before = file();
  ASSERT_NE(cl({"config", "set", "image", "plain"}).code, 0);
  write_atomically(box->profile() / "profile.yaml", "image: plain\n");
  for (const char* verb : {"start", "apply", "restart"})
    expect_error(cl({verb}), 2, {"image: from docker to plain would lose"});
  write_atomically(box->profile() / "profile.yaml", before);
  EXPECT_EQ(box->state(), "running");
}

TEST_F(ColimaDefects, PlainSshReachesTheMachineWithThePinnedKey) {
  const Result config = cl({"ssh-config"});
  ASSERT_OK(config);
  const fs::path path = box->root() / "ssh_config";
  write_atomically(path, config.out);
  const std::string bytes(300'000, 'x');
  const Result copied = box->run({"ssh", "-F", path.string(), "colima-like", "wc -c; exit 7"}, bytes, 120s);
  EXPECT_EQ(copied.code, 7) << copied;
  EXPECT_EQ(copied.out, "300000\n") << copied;

  write_atomically(box->profile() / "keys" / "known_hosts",
                   "colima-like ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n");
  EXPECT_EQ(box->run({"ssh", "-F", path.string(), "colima-like", "true"}, {}, 120s).code, 255) << "another host key";
  ASSERT_OK(cl({"ssh-config"}));  // puts the file right again
}

TEST_F(ColimaDefects, R14_AWarmStartMendsWhatIsBroken) {
  ASSERT_OK(box->docker({"volume", "create", "precious"}));
  ASSERT_OK(cl({"ssh", "--", "sync"}));  // a killed machine loses what it had not written yet, as any computer
  for (const pid_t pid : box->hypervisors()) ::kill(pid, SIGKILL);
  ASSERT_OK(cl({"start", "--cpus", "1"}));
  EXPECT_EQ(box->state(), "running");
}

TEST_F(ColimaDefects, R07_R17_WithoutItsStateFileTheDataIsNotFormattedAndRestartWorks) {
  ASSERT_OK(cl({"stop"}));
  fs::remove(box->profile() / "state.json");
  ASSERT_OK(cl({"restart"}));
  const Result volumes = box->docker({"volume", "ls", "--quiet"});
  EXPECT_EQ(volumes.out, "precious\n") << volumes;
}

TEST_F(ColimaDefects, ForcedDeleteWithDataOfARunningProfileLeavesNothing) {
  ASSERT_OK(cl({"delete", "--data", "--force"}));
  EXPECT_TRUE(fs::is_empty(box->home())) << box->run({"find", box->home().string()});
  EXPECT_TRUE(eventually(20s, [] { return box->processes().empty(); })) << box->process_list();
  EXPECT_EQ(box->docker({"context", "ls", "--format", "{{.Name}}"}).out.find("colima-like"), std::string::npos);
}

}  // namespace
}  // namespace cl::e2e
