// Defects that were seen by running Colima (research: 17, R1 to R17), each impossible here. Those that need a machine
// are in tests/e2e/colima_defects_test.cpp, R15 in tests/unit/provision, R16 in tests/unit/vm.
#include <gtest/gtest.h>

#include "profiles/keys.hpp"
#include "src/base/host.hpp"
#include "tests/unit/cli/command_line.hpp"
#include "tests/unit/cli/stand_in_daemon.hpp"

namespace cl::cli {
namespace {

class ColimaDefects : public CommandLine {
 protected:
  ColimaDefects() : paths_(profile_paths({home_.path(), home_.path()}, "default")) {}
  ~ColimaDefects() override {
    for (const char* name : {"EDITOR", "VISUAL"}) ::unsetenv(name);
  }
  void write_file(const std::string& yaml) {
    create_profile(paths_);
    write_atomically(paths_.config, yaml);
  }
  /// As a first start leaves it: with a root disk and a state.
  void make_machine(const Settings& flags = {}) {
    if (!fs::exists(paths_.config)) write_file("");
    write_atomically(paths_.root_disk, "");
    State state;
    state.since = 1;
    for (const auto& [name, text] : flags) find_key(name)->set(state.profile, text);
    const auto lock = FileLock::try_acquire(paths_.lock);
    save_state(*lock, paths_, state);
  }
  std::string file() const { return read_file(paths_.config); }
  static std::string other_arch() { return host_facts().arch == "x86_64" ? "aarch64" : "x86_64"; }

  ProfilePaths paths_;
};

TEST_F(ColimaDefects, R01_TheRemoteExitCodeIsOurs) {
  write_file("");
  StandInDaemon daemon(paths_, 42);
  EXPECT_EQ(say({"ssh", "--", "exit 42"}).code, 42);
}

TEST_F(ColimaDefects, R02_StatusJsonIsPrintedWhateverTheState) {
  EXPECT_EQ(say({"status", "--json"}).output.front(), '{');
  write_file("cpus: many\n");
  EXPECT_EQ(say({"status", "--json"}).output.front(), '{');
}

TEST_F(ColimaDefects, R03_StartOnARunningMachineSavesNoFlags) {
  write_file("# mine\nmemory: 1GiB\n");
  make_machine();
  StandInDaemon daemon(paths_, 0);
  EXPECT_EQ(say({"start", "--cpus", "1"}).code, 0);
  EXPECT_EQ(file(), "# mine\nmemory: 1GiB\n");
}

TEST_F(ColimaDefects, R04_RestartRefusesWhatIsNotValidOrNeedsAnotherMachine) {
  write_file("");
  make_machine();
  StandInDaemon daemon(paths_, 0);
  for (const std::string& yaml :
       {std::string("cpus: many\n"), std::string("network:\n  forward: nonsense\n"), "arch: " + other_arch() + "\n"}) {
    write_atomically(paths_.config, yaml);
    const Said said = say({"restart"});
    EXPECT_EQ(said.code, 2) << yaml;
    EXPECT_TRUE(daemon.verbs().empty()) << "it was stopped before anything was known";
  }
}

TEST_F(ColimaDefects, R05_EditingDoesNotGetAroundTheRules) {
  write_file("# mine\n");
  make_machine();
  const std::string arch = other_arch();
  ::setenv("EDITOR", ("echo 'arch: " + arch + "' >>").c_str(), 1);
  const Said said = say({"config", "edit"});
  EXPECT_EQ(said.code, 2);
  EXPECT_NE(said.errors.find("would lose the machine's root disk"), std::string::npos) << said.errors;
  EXPECT_EQ(file(), "# mine\n");
  EXPECT_EQ(say({"config", "set", "arch", arch}).code, 2);
  EXPECT_EQ(say({"start", "--arch", arch}).code, 2);
  write_atomically(paths_.config, "arch: " + arch + "\n");
  EXPECT_EQ(say({"start"}).code, 2);
  EXPECT_EQ(say({"config", "check"}).code, 2);
}

TEST_F(ColimaDefects, R06_AFailedStartLeavesNothingThatBreaksTheNext) {
  write_file("# mine\n");
  EXPECT_EQ(say({"start", "--runtime", "fantasy"}).code, 2);
  EXPECT_EQ(say({"start", "--image", "fantasy"}).code, 2);
  EXPECT_EQ(file(), "# mine\n");
  EXPECT_EQ(say({"config", "check"}).code, 0);
}

TEST_F(ColimaDefects, R07_RestartWorksAfterAStartWithFlags) {
  make_machine({{"cpus", "1"}});
  StandInDaemon daemon(paths_, 0);
  EXPECT_EQ(say({"restart"}).code, 0);
  EXPECT_EQ(daemon.verbs(), (std::vector<std::string>{"stop", "start"}));
}

TEST_F(ColimaDefects, R08_ATypeErrorLeadsNeitherToDefaultsNorToAnotherFile) {
  const std::string yaml = "memory: 1GiB\ncpus: many\ndisk: [1]\n";
  write_file(yaml);
  const Said said = say({"start"});
  EXPECT_EQ(said.code, 2);
  EXPECT_NE(said.errors.find("profile.yaml:2:7: cpus must be"), std::string::npos) << said.errors;
  EXPECT_NE(said.errors.find("profile.yaml:3:7: disk must be"), std::string::npos) << said.errors;
  EXPECT_EQ(say({"config", "set", "memory", "2GiB"}).code, 2);
  EXPECT_EQ(say({"config", "unset", "memory"}).code, 2);
  EXPECT_EQ(file(), yaml);
}

TEST_F(ColimaDefects, R09_AnUnknownKeyIsToldAndStays) {
  write_file("cpu: 8\n");
  const Said said = say({"start"});
  EXPECT_EQ(said.code, 2);
  EXPECT_NE(said.errors.find("profile.yaml:1:1: unknown key cpu; did you mean cpus?"), std::string::npos)
      << said.errors;
  EXPECT_EQ(file(), "cpu: 8\n");
}

TEST_F(ColimaDefects, R10_NonsenseIsRefusedAndNothingReachesAShell) {
  for (const std::vector<std::string>& words : {std::vector<std::string>{"start", "--arch", "sparc"},
                                                {"start", "--cpus=-3"},
                                                {"start", "a;touch x"},
                                                {"start", "--set", "hostname=a;touch x"},
                                                {"start", "--memory", "0.1"},
                                                {"clone", "default", "$(touch x)"}})
    EXPECT_EQ(say(words).code, 2) << words.back();
  EXPECT_TRUE(fs::is_empty(home_.path()));
}

TEST_F(ColimaDefects, R11_NoNameLeadsOutOfTheHome) {
  write_file("");
  const fs::path outside = home_.path().parent_path() / "evil";
  for (const std::vector<std::string>& words : {std::vector<std::string>{"start", "../evil"},
                                                {"clone", "default", "../evil"},
                                                {"rename", "default", "../evil"},
                                                {"use", "../evil"},
                                                {"config", "set", "-p", "../evil", "cpus", "1"}})
    EXPECT_NE(say(words).code, 0) << words.front();
  write_atomically(home_ / "current", "../evil\n\n");
  EXPECT_NE(say({"status", "--json"}).output.find("\"name\": \"default\""), std::string::npos);
  EXPECT_FALSE(fs::exists(outside));
}

TEST_F(ColimaDefects, R12_AHomeThatDoesNotExistYetIsUsed) {
  const fs::path home = home_ / "not" / "yet";
  ::setenv("COLIMA_LIKE_HOME", home.c_str(), 1);
  EXPECT_EQ(say({"config", "set", "cpus", "1"}).code, 0);
  EXPECT_TRUE(fs::exists(home / "default" / "profile.yaml"));
}

}  // namespace
}  // namespace cl::cli
