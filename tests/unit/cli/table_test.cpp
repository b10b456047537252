#include <gtest/gtest.h>

#include <boost/json/array.hpp>
#include <set>

#include "src/base/file.hpp"
#include "src/cli/command.hpp"
#include "tests/unit/cli/command_line.hpp"

namespace cl::cli {
namespace {

TEST_F(CommandLine, HelpNamesEveryVerbAndEndsWell) {
  const Said said = say({"--help"});
  EXPECT_EQ(said.code, 0);
  for (const Verb& verb : verbs())
    EXPECT_EQ(said.output.find("\n  " + std::string(verb.name.substr(0, verb.name.find(' ')))) == std::string::npos,
              (verb.options & hidden_verb) != 0)
        << verb.name;
  EXPECT_NE(say({"start", "--help"}).output.find("--cpus"), std::string::npos);
  EXPECT_EQ(say({"image", "build", "--help"}).code, 0);
}

TEST_F(CommandLine, AnUnknownVerbGetsTheNearestOne) {
  const Said said = say({"strat"});
  EXPECT_EQ(said.code, 2);
  EXPECT_NE(said.errors.find("there is no command 'strat'"), std::string::npos) << said.errors;
  EXPECT_NE(said.errors.find("did you mean 'start'?"), std::string::npos) << said.errors;
}

TEST_F(CommandLine, AnUnknownFlagGetsTheNearestOne) {
  const Said said = say({"start", "--cpu", "2"});
  EXPECT_EQ(said.code, 2);
  EXPECT_NE(said.errors.find("did you mean '--cpus'?"), std::string::npos) << said.errors;
}

TEST_F(CommandLine, WrongSettingsAreToldBeforeAnythingIsCreated) {
  for (const std::vector<std::string>& flags : {std::vector<std::string>{"--cpus", "-3"},
                                                {"--cpus=-3"},
                                                {"--memory", "0.1"},
                                                {"--cpus", "4096"},
                                                {"--memory", "900TiB"},
                                                {"--disk", "x"},
                                                {"--arch", "vax"},
                                                {"--accel", "xen"},
                                                {"--image", "arch"}}) {
    std::vector<std::string> words{"start"};
    words.insert(words.end(), flags.begin(), flags.end());
    const Said said = say(words);
    EXPECT_EQ(said.code, 2) << flags.front();
    EXPECT_TRUE(fs::is_empty(home_.path())) << flags.front();
    EXPECT_NE(said.errors.find("error: "), std::string::npos);
  }
}

TEST_F(CommandLine, BadProfileNamesAreRefusedEverywhere) {
  for (const char* verb : {"start", "stop", "status", "delete", "logs", "restart"})
    for (const char* name : {"../evil", "UP"}) {
      EXPECT_EQ(say({verb, name}).code, 2) << verb << name;
      EXPECT_EQ(say({verb, "--profile", name}).code, 2) << verb << name;
    }
  EXPECT_EQ(say({"ssh", "-p", "../evil"}).code, 2);
  EXPECT_EQ(say({"status", ""}).code, 2);
  EXPECT_TRUE(fs::is_empty(home_.path()));
}

TEST_F(CommandLine, StatusOfAStoppedProfilePrintsJsonAndEndsWith3) {
  fs::create_directories(home_ / "default");
  write_atomically(home_ / "default" / "profile.yaml", "");
  const Said said = say({"status", "--json"});
  EXPECT_EQ(said.code, 3);
  EXPECT_NE(said.output.find("\"state\": \"stopped\""), std::string::npos) << said.output;
}

TEST_F(CommandLine, StatusOfABrokenProfileIsStillJson) {
  fs::create_directories(home_ / "default");
  write_atomically(home_ / "default" / "profile.yaml", "");
  write_atomically(home_ / "default" / "state.json", "{");
  const Said said = say({"status", "--json"});
  EXPECT_EQ(said.code, 1);
  EXPECT_NE(said.output.find("\"state\": \"broken\""), std::string::npos) << said.output;
}

TEST_F(CommandLine, WhatNeedsAProfileSaysThatThereIsNone) {
  for (const char* verb : {"stop", "delete", "logs", "restart"}) {
    const Said said = say({verb, "nobody"});
    EXPECT_EQ(said.code, 1) << verb;
    EXPECT_NE(said.errors.find("there is no profile 'nobody'"), std::string::npos) << said.errors;
  }
}

TEST_F(CommandLine, SshIntoAStoppedProfileEndsWith3) {
  fs::create_directories(home_ / "default");
  write_atomically(home_ / "default" / "profile.yaml", "");
  EXPECT_EQ(say({"ssh", "--", "true"}).code, 3);
}

TEST_F(CommandLine, ListIsEmptyJsonWithoutProfiles) {
  const Said said = say({"list", "--json"});
  EXPECT_EQ(said.code, 0);
  EXPECT_EQ(said.output, "[]\n");
}

TEST_F(CommandLine, TheEnvironmentNamesTheProfile) {
  ::setenv("COLIMA_LIKE_PROFILE", "other", 1);
  EXPECT_NE(say({"status", "--json"}).output.find("\"name\": \"other\""), std::string::npos);
  EXPECT_NE(say({"status", "--json", "-p", "third"}).output.find("\"name\": \"third\""), std::string::npos);
}

TEST_F(CommandLine, VersionIsJsonWhenAsked) { EXPECT_EQ(say({"version", "--json"}).output.front(), '{'); }

TEST(Verbs, HaveOneRowEach) {
  std::set<std::string_view> names;
  for (const Verb& verb : verbs()) EXPECT_TRUE(names.insert(verb.name).second) << verb.name;
}

}  // namespace
}  // namespace cl::cli
