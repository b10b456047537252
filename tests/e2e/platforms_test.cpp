#include <boost/json.hpp>
#include <fstream>

#include "provision/platforms.hpp"
#include "src/base/host.hpp"
#include "tests/e2e/machine_images.hpp"
#include "tests/e2e/shared_machine.hpp"

// A machine of this host's own architecture runs containers of all others.

namespace cl::e2e {
namespace {

namespace json = boost::json;

class Platforms : public OnDocker {
 protected:
  static json::object platform(std::string_view name) {
    const json::object status = box->status();
    for (const json::value& one : status.at("platforms").as_array())
      if (one.at("platform").as_string() == name) return one.as_object();
    ADD_FAILURE() << name << " is not in " << json::serialize(status);
    return {};
  }
  static Result guest(const std::string& command) { return cl({"ssh", "--", command}); }
};

TEST_F(Platforms, StatusAndDoctorShowWhatRunsEachAndThatItWorks) {
  const std::string text = box->cl({"status"}).out, report = box->cl({"doctor"}).out;
  for (const Platform& one : platforms()) {
    const json::object state = platform(one.name);
    EXPECT_TRUE(state.at("works").as_bool()) << json::serialize(state);
    const std::string name(one.name), translator(state.at("translator").as_string());
    EXPECT_TRUE(translator == "native" || translator == "qemu-user") << json::serialize(state);
    EXPECT_NE(text.find("platform " + name + ": " + translator), std::string::npos) << text;
    EXPECT_NE(report.find(name), std::string::npos) << report;
  }
  EXPECT_EQ(report.find("problem"), std::string::npos) << report;
}

TEST_F(Platforms, EntriesWorkInEveryContainerAndKeepRights) {
  const Result shown = guest("cat /proc/sys/fs/binfmt_misc/qemu-s390x");
  EXPECT_NE(shown.out.find("flags: POCF"), std::string::npos) << shown;
}

TEST_F(Platforms, ContainersOfEachPrintTheirMachine) {
  for (const Platform& one : platforms()) {
    const std::string name(one.name);
    ASSERT_NO_FATAL_FAILURE(import_tiny(*box, one));
    const Result ran = box->docker({"run", "--rm", "--platform", name, tiny_image(one), "/machine"});
    EXPECT_EQ(ran.code, 0) << ran;
    EXPECT_TRUE(is_machine(one, ran.out)) << ran;
  }
}

TEST_F(Platforms, BuildsRunTheirStepsOnTheOther) {
  const Platform& foreign = platform_of(host_facts().arch == "x86_64" ? "aarch64" : "x86_64");
  const fs::path context = box->root() / "context";
  fs::create_directory(context);
  write_program(foreign, context / "machine");
  std::ofstream(context / "Dockerfile") << "FROM scratch\nCOPY machine /machine\nRUN [\"/machine\"]\n";
  const std::string name(foreign.name);
  for (const char* buildkit : {"1", "0"}) {
    std::vector<std::string> words{"env", std::string("DOCKER_BUILDKIT=") + buildkit, "docker", "build", "--no-cache"};
    if (*buildkit == '1') words.emplace_back("--progress=plain");
    for (const std::string& word :
         {std::string("--platform"), name, std::string("-t"), std::string("built"), context.string()})
      words.push_back(word);
    const Result built = box->run(words, {}, 300s);
    if (built.err.find("buildx component is missing") != std::string::npos)
      continue;  // this host's CLI has no BuildKit
    ASSERT_OK(built);
    EXPECT_NE((built.out + built.err).find(std::string(foreign.arch) + "\n"), std::string::npos) << built;
    EXPECT_EQ(box->docker({"run", "--rm", "--platform", name, "built", "/machine"}).out,
              std::string(foreign.arch) + "\n");
  }
}

TEST_F(Platforms, AMachineWithoutQemuUserSaysSoAndGetsItBack) {
  ASSERT_NO_FATAL_FAILURE(import_tiny(*box, platform_of("s390x")));
  ASSERT_OK(
      guest("mv /usr/bin/qemu-s390x /root/away && echo -1 > /proc/sys/fs/binfmt_misc/qemu-s390x && "
            "rm /run/colima-like/platforms"));
  ASSERT_OK(box->cl({"config", "set", "env", "ROUND=1"}));
  ASSERT_OK(box->cl({"apply"}));
  json::object state = platform("linux/s390x");
  EXPECT_EQ(state.at("translator"), "none");
  EXPECT_FALSE(state.at("works").as_bool());
  EXPECT_NE(std::string(state.at("why").as_string()).find("not installed"), std::string::npos)
      << json::serialize(state);
  const Result report = box->cl({"doctor"});
  EXPECT_NE(report.out.find("apt-get install"), std::string::npos) << report;
  EXPECT_NE(box->docker({"run", "--rm", "--platform", "linux/s390x", "tiny-s390x", "/machine"}).code, 0);

  ASSERT_OK(guest("mv /root/away /usr/bin/qemu-s390x"));
  ASSERT_OK(box->cl({"config", "unset", "env"}));
  ASSERT_OK(box->cl({"apply"}));
  EXPECT_TRUE(platform("linux/s390x").at("works").as_bool());
  EXPECT_EQ(box->docker({"run", "--rm", "--platform", "linux/s390x", "tiny-s390x", "/machine"}).out, "s390x\n");
}

TEST_F(Platforms, ForeignContainersRunOnAfterAResume) {
  ASSERT_NO_FATAL_FAILURE(import_tiny(*box, platform_of("riscv64")));
  const json::value before = box->status().at("platforms");
  ASSERT_OK(box->cl({"suspend"}));
  ASSERT_OK(box->cl({"start"}));
  EXPECT_EQ(box->status().at("platforms"), before);
  EXPECT_EQ(box->docker({"run", "--rm", "--platform", "linux/riscv64", "tiny-riscv64", "/machine"}).out, "riscv64\n");
}

}  // namespace
}  // namespace cl::e2e
