#include <boost/json.hpp>
#include <fstream>
#include <thread>

#include "src/base/host.hpp"
#include "tests/e2e/machine_images.hpp"
#include "tests/e2e/sandbox.hpp"

// A whole machine of the other architecture, emulated, booted once; in it Rosetta is rehearsed: a share tagged
// "rosetta" that holds another translator of x86_64 programs under its name.

namespace cl::e2e {
namespace {

namespace json = boost::json;

class Aarch64 : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (host_facts().arch != "x86_64") return;
    box = new Sandbox;
    fs::create_directory(share());
    if (Sandbox::has_virtiofsd()) box->set("COLIMA_LIKE_ROSETTA_SHARE=" + share().string());
    box->cl({"config", "set", "arch", "aarch64"});
    started = new Result(box->cl({"start"}, {}, 2400s));  // builds the image if need be
  }
  static void TearDownTestSuite() {
    delete started;
    delete box;
  }
  void SetUp() override {
    if (started == nullptr) GTEST_SKIP() << "the machine would not be a foreign one";
    ASSERT_OK(*started);
  }

  static fs::path share() { return box->root() / "rosetta"; }
  static void require_share() {
    if (!Sandbox::has_virtiofsd()) GTEST_SKIP() << "there is no virtiofsd for the share";
  }
  /// What the share has from now on under Rosetta's name.
  static void put_translator(const std::string& program) {
    std::ofstream(share() / "new") << program;
    fs::permissions(share() / "new", fs::perms::owner_all | fs::perms::others_exec | fs::perms::others_read);
    fs::rename(share() / "new", share() / "rosetta");
    std::this_thread::sleep_for(1500ms);  // the guest asks the host for a name again after a second
  }
  static Result guest(const std::string& command) { return box->cl({"ssh", "--", command}); }
  /// Has the machine look again at what runs there; another variable is a change that `apply` brings in.
  static void look_again() {
    static int round = 0;
    guest("rm -f /run/colima-like/platforms");
    ASSERT_OK(box->cl({"config", "set", "env", "ROUND=" + std::to_string(++round)}));
    ASSERT_OK(box->cl({"apply"}, {}, 300s));
  }
  static json::object amd64() {
    const json::object status = box->status();
    for (const json::value& one : status.at("platforms").as_array())
      if (one.at("platform").as_string() == "linux/amd64") return one.as_object();
    return {};
  }
  static Result run_amd64() {
    return box->docker({"run", "--rm", "--platform", "linux/amd64", "tiny-x86_64", "/machine"}, {}, 300s);
  }

  static Sandbox* box;
  static Result* started;
};
Sandbox* Aarch64::box = nullptr;
Result* Aarch64::started = nullptr;

TEST_F(Aarch64, IsAMachineOfItsOwnArchitecture) {
  const json::object status = box->status();
  EXPECT_EQ(status.at("arch"), "aarch64");
  EXPECT_EQ(status.at("accel"), "tcg");
  EXPECT_EQ(guest("uname -m").out, "aarch64\n");
  EXPECT_EQ(box->docker({"version", "--format", "{{.Server.Arch}}"}).out, "arm64\n");
  const Result refused = box->cl({"start", "--arch", "x86_64"});
  EXPECT_EQ(refused.code, 2) << refused;
}

TEST_F(Aarch64, RunsImagesOfItsOwnAndOfOthers) {
  for (const Platform& one : platforms()) {
    ASSERT_NO_FATAL_FAILURE(import_tiny(*box, one));
    const Result ran =
        box->docker({"run", "--rm", "--platform", std::string(one.name), tiny_image(one), "/machine"}, {}, 300s);
    EXPECT_TRUE(is_machine(one, ran.out)) << ran;
  }
}

TEST_F(Aarch64, ARosettaThatIsNotInItsShareIsSeenInStatus) {
  ASSERT_NO_FATAL_FAILURE(require_share());
  if (IsSkipped()) return;
  const json::object state = amd64();
  EXPECT_EQ(state.at("translator"), "qemu-user");
  EXPECT_TRUE(state.at("works").as_bool());
  EXPECT_TRUE(state.at("why").as_string().starts_with("rosetta failed")) << json::serialize(state);
  const Result shown = box->cl({"status"});
  EXPECT_NE(shown.out.find("linux/amd64: qemu-user (rosetta failed: "), std::string::npos) << shown;
}

TEST_F(Aarch64, ARosettaThatWorksRunsContainersAheadOfQemu) {
  ASSERT_NO_FATAL_FAILURE(require_share());
  if (IsSkipped()) return;
  put_translator(guest("cat /usr/bin/qemu-x86_64").out);
  ASSERT_NO_FATAL_FAILURE(look_again());
  const json::object state = amd64();
  EXPECT_EQ(state.at("translator"), "rosetta") << json::serialize(state);
  EXPECT_TRUE(state.at("works").as_bool());
  const Result entry = guest("cat /proc/sys/fs/binfmt_misc/rosetta");
  EXPECT_NE(entry.out.find("flags: OCF"), std::string::npos) << entry;
  EXPECT_NE(entry.out.find("interpreter /mnt/rosetta/rosetta"), std::string::npos) << entry;

  // With the other entry there it is asked first, and with the other one turned off it is the one that is left.
  EXPECT_EQ(run_amd64().out, "x86_64\n");
  ASSERT_OK(guest("echo 0 > /proc/sys/fs/binfmt_misc/qemu-x86_64"));
  EXPECT_EQ(run_amd64().out, "x86_64\n");
  ASSERT_OK(guest("echo 1 > /proc/sys/fs/binfmt_misc/qemu-x86_64 && echo 0 > /proc/sys/fs/binfmt_misc/rosetta"));
  EXPECT_EQ(run_amd64().out, "x86_64\n");
  ASSERT_OK(guest("echo 1 > /proc/sys/fs/binfmt_misc/rosetta"));
}

TEST_F(Aarch64, ARosettaThatCrashesIsTakenAwayAndSeenInStatus) {
  ASSERT_NO_FATAL_FAILURE(require_share());
  if (IsSkipped()) return;
  put_translator(guest("head -c 200000 /usr/bin/qemu-x86_64").out);
  ASSERT_NO_FATAL_FAILURE(look_again());
  const json::object state = amd64();
  EXPECT_EQ(state.at("translator"), "qemu-user") << json::serialize(state);
  EXPECT_TRUE(state.at("works").as_bool());
  EXPECT_TRUE(state.at("why").as_string().starts_with("rosetta failed: ")) << json::serialize(state);
  EXPECT_NE(guest("test -e /proc/sys/fs/binfmt_misc/rosetta").code, 0);
  EXPECT_EQ(run_amd64().out, "x86_64\n");
}

TEST_F(Aarch64, ResumesWhatItSaved) {
  const std::string boot = guest("cat /proc/sys/kernel/random/boot_id").out;
  ASSERT_OK(box->cl({"suspend"}, {}, 200s));
  EXPECT_EQ(box->state(), "suspended");
  ASSERT_OK(box->cl({"start"}, {}, boot_limit));
  EXPECT_EQ(guest("cat /proc/sys/kernel/random/boot_id").out, boot);
  EXPECT_EQ(run_amd64().out, "x86_64\n");
}

TEST_F(Aarch64, HearsItsPowerButton) {
  const Result stopped = box->cl({"stop"}, {}, 200s);
  ASSERT_OK(stopped);
  EXPECT_NE(stopped.err.find("the machine is powered off"), std::string::npos) << stopped;
}

}  // namespace
}  // namespace cl::e2e
