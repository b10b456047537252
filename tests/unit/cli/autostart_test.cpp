// The verbs with stand-ins for systemctl and launchctl, which note what they are told.
#include <sys/stat.h>

#include "src/app/autostart.hpp"
#include "src/base/host.hpp"
#include "src/base/platform.hpp"
#include "tests/unit/cli/command_line.hpp"

namespace cl::cli {
namespace {

class AutostartVerbs : public CommandLine {
 protected:
  AutostartVerbs() {
    ::setenv("HOME", user_.path().c_str(), 1);
    ::unsetenv("XDG_CONFIG_HOME");
    fs::create_directory(tools_);
    ::setenv("PATH", tools_.c_str(), 1);
    make_profile("default");
  }
  ~AutostartVerbs() override { ::setenv("PATH", path_.c_str(), 1); }
  void make_profile(const std::string& name) {
    fs::create_directories(home_ / name);
    ::chmod(home_.path().c_str(), 0700);
    write_atomically(home_ / name / "profile.yaml", "cpus: 1\n");
  }
  /// The system's program, which writes down its arguments and then runs `line`.
  void have_system(const std::string& line = "exit 0") {
    for (const char* name : {"systemctl", "launchctl"})
      write_atomically(tools_ / name, "#!/bin/sh\necho \"$@\" >> " + told_.string() + "\n" + line + "\n", 0755);
  }
  std::string told() const { return read_file_if_exists(told_).value_or(""); }
  Autostart seen() const { return observe_autostart({home_.path(), home_.path()}, "default"); }

  const bool macos_ = host_facts().os == "macos";
  const std::string path_ = std::getenv("PATH");
  test::TempDir user_;
  const fs::path tools_ = user_ / "tools", told_ = user_ / "told";
};

TEST_F(AutostartVerbs, EnableWritesWhatTheSystemReadsAndTellsIt) {
  have_system();
  const Said said = say({"autostart", "enable"});
  EXPECT_EQ(said.code, 0) << said.errors;
  EXPECT_NE(said.output.find("'default' starts "), std::string::npos) << said.output;
  EXPECT_EQ(told(),
            macos_ ? "enable gui/" + std::to_string(::getuid()) + "/colima-like.default\n" : "--user daemon-reload\n");
  EXPECT_TRUE(seen().enabled);
  EXPECT_EQ(seen().problem, "");
  EXPECT_TRUE(seen().job.program.is_absolute());
  const AutostartJob job = seen().job;
  EXPECT_EQ(job.environment.front(), (std::pair<std::string, std::string>("PATH", tools_.string())));
  EXPECT_EQ(job.environment[1].second, home_.path().string());
}

TEST_F(AutostartVerbs, ALinkInPathIsKeptSinceHomebrewMovesWhatItLeadsTo) {
  have_system();
  fs::create_symlink(platform::executable(), tools_ / "colima-like");
  EXPECT_EQ(say({"autostart", "enable"}).code, 0);
  EXPECT_EQ(seen().job.program, tools_ / "colima-like");
}

TEST_F(AutostartVerbs, DisableTakesItAwayAndIsNoErrorTwice) {
  have_system();
  say({"autostart", "enable"});
  const fs::path file = seen().file;
  EXPECT_EQ(say({"autostart", "disable"}).code, 0);
  EXPECT_FALSE(fs::exists(file));
  EXPECT_FALSE(seen().enabled);
  EXPECT_NE(say({"autostart", "disable"}).output.find("nothing to do"), std::string::npos);
  for (const auto& entry : fs::recursive_directory_iterator(user_.path()))
    EXPECT_FALSE(entry.is_symlink()) << entry.path();
}

TEST_F(AutostartVerbs, ASystemThatDoesNotTakeItNowIsTold) {
  have_system("echo 'Failed to connect to bus' >&2; exit 1");
  const Said said = say({"autostart", "enable"});
  EXPECT_EQ(said.code, 0);
  EXPECT_NE(said.errors.find("at the next login: Failed to connect to bus"), std::string::npos) << said.errors;
  EXPECT_TRUE(seen().enabled);
}

TEST_F(AutostartVerbs, AProfileThatIsNotThereIsRefused) {
  have_system();
  EXPECT_EQ(say({"autostart", "enable", "gone"}).code, 1);
  EXPECT_EQ(told(), "");
}

TEST_F(AutostartVerbs, TheSameProfileOfAnotherHomeKeepsItsPlace) {
  have_system();
  say({"autostart", "enable"});
  const test::TempDir other;
  fs::create_directories(other / "default");
  write_atomically(other / "default" / "profile.yaml", "cpus: 1\n");
  ::setenv("COLIMA_LIKE_HOME", other.path().c_str(), 1);
  const Said said = say({"autostart", "enable"});
  EXPECT_EQ(said.code, 6) << said.errors;
  EXPECT_NE(say({"autostart", "disable"}).output.find("nothing to do"), std::string::npos);
  EXPECT_EQ(say({"autostart", "status"}).output.find("'default' starts"), 0U);
  EXPECT_TRUE(seen().enabled) << "the first one's";
}

}  // namespace
}  // namespace cl::cli
