#include <cstdlib>

#include "src/base/file.hpp"
#include "src/base/host.hpp"
#include "tests/e2e/shared_machine.hpp"
#include "tests/support/case_file.hpp"

// The files of tests/cases, each a test, for shared folders one for each type. They have one machine, in which the
// container `files` shows the shares.

namespace cl::e2e {
namespace {

using test::CaseFile;

/// One whole test for the machine: what is left behind fails the last case.
class Cases : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    box = docker_machine().begin();
    if (box == nullptr) return;
    settings = read_file(box->profile() / "profile.yaml");
    const fs::path slow = box->root() / "cases";
    fs::create_directories(slow);
    fs::create_directories(tools());
    // What cases call: a command in the container `files`, in the folder of the same name.
    write_atomically(tools() / "inside", "#!/bin/sh\nexec docker exec -w \"$PWD\" files sh -c \"$1\"\n", 0755);
    fs::create_symlink(program(), tools() / "colima-like");
    const std::string fast = (box->root() / "user").string();
    EXPECT_OK(box->cl({"share", "add", slow.string() + ":sshfs"}, {}, 300s));
    EXPECT_OK(box->docker({"run", "-d", "--name", "files", "-v", fast + ":" + fast, "-v",
                           slow.string() + ":" + slow.string(), "box", "sleep", "100000"}));
  }
  static void TearDownTestSuite() {
    if (box == nullptr) return;
    EXPECT_OK(box->docker({"rm", "-f", "files"}));
    write_atomically(box->profile() / "profile.yaml", settings);
    EXPECT_OK(box->cl({"apply"}, {}, 300s));
    docker_machine().end();
  }

  static fs::path tools() { return box->root() / "tools"; }
  /// Each case has a folder of its own name: sshfs shows for a second what was in a folder before.
  static fs::path folder_of(const CaseFile& one, const std::string& share_type) {
    return box->root() / (share_type == "virtiofs" ? "user" : "cases") / one.file;
  }

  static Sandbox* box;
  static std::string settings;
};
Sandbox* Cases::box = nullptr;
std::string Cases::settings;

class Case : public Cases {
 public:
  Case(CaseFile one, std::string share_type) : one_(std::move(one)), share_type_(std::move(share_type)) {}

  void TestBody() override {
    ASSERT_NE(box, nullptr);
    for (const std::string& word : one_.requires_) {
      if (word == "linux" && host_facts().os != "linux") GTEST_SKIP() << "its commands are Linux's";
      if (word != "share" && word != "linux" && !find_program(word)) GTEST_SKIP() << word << " is not installed";
    }
    if (share_type_ == "virtiofs" && !Sandbox::has_virtiofsd()) GTEST_SKIP() << "there is no virtiofsd here";
    const fs::path folder = folder_of(one_, share_type_);
    fs::create_directories(folder);
    const std::string script = "cd " + folder.string() + "; PATH=" + tools().string() +
                               ":$PATH; UNSHARED=" + (box->root() / "unshared").string() + "\n" + one_.run;
    const Result result = box->run({"sh", "-euc", script});
    box->run({"sh", "-c",
              "docker rm -fv case; docker network rm case; docker volume rm case; chmod -R u+rwx " + folder.string() +
                  "; rm -rf " + folder.string()});
    const std::vector<std::string>& expected = one_.expected(share_type_);
    std::string wanted;
    for (const std::string& line : expected) wanted += line + "\n";
    EXPECT_TRUE(test::fits(expected, result.out)) << "tests/cases/" << one_.file << ".case expects\n"
                                                  << wanted << "and not what is printed by " << result;
    EXPECT_EQ(result.code, one_.exit) << result;
    for (const std::string& text : one_.error) EXPECT_NE(result.err.find(text), std::string::npos) << text << result;
  }

 private:
  CaseFile one_;
  std::string share_type_;
};

/// "file-replaced" is Cases.FileReplaced, or Cases.FileReplacedOnVirtiofs and Cases.FileReplacedOnSshfs.
void add_test(const CaseFile& one, const std::string& share_type) {
  const std::string name = test::test_name(one.file + (share_type.empty() ? "" : "-on-" + share_type));
  testing::RegisterTest("Cases", name.c_str(), nullptr, nullptr, __FILE__, __LINE__,
                        [one, share_type]() -> Cases* { return new Case(one, share_type); });
}

[[maybe_unused]] const bool registered = [] {
  for (const CaseFile& one : test::read_cases(COLIMA_LIKE_CASES)) {
    if (!one.in_share()) add_test(one, "");
    for (const char* type : {"virtiofs", "sshfs"})
      if (one.in_share()) add_test(one, type);
  }
  return true;
}();

}  // namespace
}  // namespace cl::e2e
