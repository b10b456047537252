#include <gtest/gtest.h>

#include <memory>

#include "src/base/host.hpp"
#include "tests/integration/docker_engine.hpp"
#include "tests/support/case_file.hpp"

// The files of tests/cases with an engine of this computer: the column "local engine" of docs/compatibility.md. The
// engine has a network name space of its own, in which the cases' commands run, too.

namespace cl::test {
namespace {

class LocalCases : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    why_not = no_dockerd();
    if (!why_not.empty()) return;
    try {
      engine = std::make_unique<Dockerd>(Dockerd::Network::own_namespace);
      furnish();
    } catch (const Error& error) {
      ADD_FAILURE() << one_line(error);
    }
  }
  static void TearDownTestSuite() { engine.reset(); }

  static fs::path folder() { return engine->directory() / "cases"; }
  static fs::path tools() { return engine->directory() / "tools"; }

  static Finished shell(const std::string& script, std::chrono::seconds limit = 120s) {
    Command command = engine->cli(engine->socket(), {});
    command.argv = {"nsenter", "--net", "--target", std::to_string(engine->pid()), "sh", "-euc", script};
    return cl::test::run(cl::run(std::move(command), "", limit), limit + 10s);
  }

  /// The image `box`, the command `inside` and its container, as e2e's machine has them.
  static void furnish() {
    fs::create_directories(folder());
    fs::create_directories(tools());
    write_atomically(tools() / "inside", "#!/bin/sh\nexec docker exec -w \"$PWD\" files sh -c \"$1\"\n", 0755);
    const std::string there = folder().string();
    const Finished made =
        shell("cd " + engine->directory().path().string() +
              "; mkdir -p box/bin box/tmp; cp -L $(command -v busybox) box/bin/busybox; "
              "for name in $(busybox --list); do [ $name = busybox ] || ln -s busybox box/bin/$name; done; "
              "tar -C box -c . | docker import - box; docker run -d --name files -v " +
              there + ":" + there + " box sleep 100000");
    EXPECT_TRUE(made.status.ok()) << made.errors;
  }

  static std::unique_ptr<Dockerd> engine;
  static std::string why_not;
};
std::unique_ptr<Dockerd> LocalCases::engine;
std::string LocalCases::why_not;

class LocalCase : public LocalCases {
 public:
  explicit LocalCase(CaseFile one) : one_(std::move(one)) {}

  void TestBody() override {
    if (!why_not.empty()) GTEST_SKIP() << why_not;
    ASSERT_NE(engine, nullptr);
    for (const std::string& word : one_.requires_)
      if (word != "share" && word != "linux" && !find_program(word)) GTEST_SKIP() << word << " is not installed";
    const fs::path place = folder() / one_.file;
    fs::create_directories(place);
    const Finished done = shell("cd " + place.string() + "; PATH=" + tools().string() +
                                ":$PATH; UNSHARED=" + (engine->directory() / "unshared").string() + "\n" + one_.run);
    shell("set +e; docker rm -fv case; docker network rm case; docker volume rm case; true");
    EXPECT_TRUE(fits(one_.expected_locally(), done.output))
        << "tests/cases/" << one_.file << ".case is something else with a local engine:\n"
        << done.output << done.errors;
    EXPECT_EQ(done.status.code, one_.exit_locally()) << done.output << done.errors;
  }

 private:
  CaseFile one_;
};

[[maybe_unused]] const bool registered = [] {
  for (const CaseFile& one : read_cases(COLIMA_LIKE_CASES))
    testing::RegisterTest("LocalCases", test_name(one.file).c_str(), nullptr, nullptr, __FILE__, __LINE__,
                          [one]() -> LocalCases* { return new LocalCase(one); });
  return true;
}();

}  // namespace
}  // namespace cl::test
