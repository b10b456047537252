#include "src/app/autostart.hpp"

#include <gtest/gtest.h>

#include "src/base/file.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl {
namespace {

AutostartJob simple() {
  return {"/usr/bin/env",
          "work",
          {{"PATH", "/usr/bin:/bin"}, {"COLIMA_LIKE_HOME", "/home/me/.colima-like"}},
          "/home/me/a.log"};
}

/// What both grammars have signs for.
AutostartJob odd() {
  return {"/opt/a b/\"c\"\\d/50%/$HOME/<e>&f",
          "work",
          {{"COLIMA_LIKE_HOME", "/h/%h $x & \"y\" <z> \\ &amp;"}, {"PATH", "/a=b:/c"}},
          "/l & <m>/a.log"};
}

TEST(Autostart, AUnitIsWrittenAsSystemdReadsIt) {
  test::expect_golden("autostart.service", systemd_unit(simple()));
  const std::string text = systemd_unit(odd());
  EXPECT_NE(text.find(R"("/opt/a b/\"c\"\\d/50%%/$$HOME/<e>&f" start "work")"), std::string::npos) << text;
  EXPECT_NE(text.find(R"(Environment="COLIMA_LIKE_HOME=/h/%%h $x & \"y\" <z> \\ &amp;")"), std::string::npos) << text;
}

TEST(Autostart, APropertyListIsWrittenAsLaunchdReadsIt) {
  test::expect_golden("autostart.plist", launch_agent(simple()));
  EXPECT_NE(launch_agent(odd()).find("<string>/h/%h $x &amp; \"y\" &lt;z&gt; \\ &amp;amp;</string>"),
            std::string::npos);
}

TEST(Autostart, WhatIsWrittenIsReadBack) {
  EXPECT_EQ(parse_launch_agent(launch_agent(odd())), odd());
  AutostartJob without_log = odd();
  without_log.log.clear();  // systemd has its journal
  EXPECT_EQ(parse_systemd_unit(systemd_unit(odd())), without_log);
}

TEST(Autostart, ACutFileIsAJobWithoutWhatIsMissing) {
  for (const std::string& text : {systemd_unit(odd()), launch_agent(odd())})
    for (std::size_t length = 0; length < text.size(); ++length) {
      parse_systemd_unit(std::string_view(text).substr(0, length));
      parse_launch_agent(std::string_view(text).substr(0, length));
    }
  EXPECT_EQ(parse_systemd_unit("ExecStart="), AutostartJob());
  EXPECT_EQ(parse_launch_agent("<key>ProgramArguments</key>"), AutostartJob());
}

class JudgeAutostart : public ::testing::Test {
 protected:
  JudgeAutostart() {
    fs::create_directories(home_.profiles / "work");
    write_atomically(home_.profiles / "work" / "profile.yaml", "");
    seen_.enabled = true;
    seen_.job = {"/bin/sh", "work", {{"COLIMA_LIKE_HOME", home_.profiles.string()}}, ""};
  }
  std::string problem() {
    seen_.problem.clear();
    judge_autostart(seen_, home_, "/bin/sh");
    EXPECT_EQ(seen_.problem.empty(), seen_.remedy.empty());
    return seen_.problem;
  }
  test::TempDir dir_;
  Home home_{dir_ / "home", dir_ / "cache"};
  Autostart seen_;
};

TEST_F(JudgeAutostart, FindsNothingWrongWithWhatIsMeant) { EXPECT_EQ(problem(), ""); }

TEST_F(JudgeAutostart, FindsWhatChangedSinceItWasEnabled) {
  seen_.enabled = false;
  EXPECT_EQ(problem(), "its unit is there and is not enabled");
  seen_.job.program = "/bin/cat";
  EXPECT_EQ(problem(), "it starts /bin/cat, and this is /bin/sh");
  seen_.job.program = "/opt/homebrew/Cellar/colima-like/0.0.1/bin/colima-like";
  EXPECT_EQ(problem(), "its program is gone: " + seen_.job.program.string());
  fs::remove_all(home_.profiles / "work");
  EXPECT_EQ(problem(), "its profile is gone");
  seen_.job.environment.front().second = "/other";
  EXPECT_EQ(problem(), "it is for the profile of that name in /other");
}

}  // namespace
}  // namespace cl
