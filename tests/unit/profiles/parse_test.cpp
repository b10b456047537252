#include "profiles/parse.hpp"

#include <gtest/gtest.h>

namespace cl {
namespace {

std::string problems_of(std::string_view yaml) {
  std::string all;
  for (const Problem& problem : parse_profile(yaml, "f").problems) all += problem.where + " " + problem.message + "\n";
  return all;
}

TEST(Parse, TheDefaultFileMeansTheDefaults) {
  const Parsed parsed = parse_profile(default_profile_yaml(), "f");
  EXPECT_TRUE(parsed.problems.empty());
  EXPECT_EQ(parsed.profile, Profile{});
}

TEST(Parse, TheDefaultFileWithItsCommentSignsRemovedMeansTheDefaultsToo) {
  std::string yaml, line;
  for (const char c : default_profile_yaml() + "\n") {
    if (c != '\n') {
      line += c;
      continue;
    }
    // "# name: value" lines come alive, "# words" lines stay comments.
    const auto sign = line.find("# ");
    const bool setting = sign != std::string::npos && line.find(": ", sign) != std::string::npos &&
                         line.find(' ', sign + 2) > line.find(':', sign);
    yaml += (setting ? line.erase(sign, 2) : line) + "\n";
    line.clear();
  }
  EXPECT_EQ(problems_of(yaml), "") << yaml;
  EXPECT_NE(yaml.find("\ncpus: 2\n"), std::string::npos) << yaml;
  EXPECT_EQ(parse_profile(yaml, "f").profile, Profile{});
}

TEST(Parse, ReadsValuesAndGroups) {
  const Parsed parsed = parse_profile("cpus: 4\nmemory: 3GiB\nvm:\n  accel: tcg\n", "f");
  EXPECT_TRUE(parsed.problems.empty());
  EXPECT_EQ(parsed.profile.cpus, 4);
  EXPECT_EQ(parsed.profile.memory, ByteSize::gib(3));
  EXPECT_EQ(parsed.profile.accel, AccelWish::tcg);
}

TEST(Parse, AnEmptyFileIsFine) {
  EXPECT_EQ(problems_of(""), "");
  EXPECT_EQ(problems_of("vm:\n"), "");
}

TEST(Parse, ReportsEveryProblemWithItsPlace) {
  EXPECT_EQ(problems_of("cpus: -3\nmemry: 4\nvm:\n  acel: kvm\n"),
            "f:1:7 cpus must be a whole number from 1, not '-3'\n"
            "f:2:1 unknown key memry; did you mean memory?\n"
            "f:4:3 unknown key vm.acel; did you mean vm.accel?\n");
}

TEST(Parse, ARepeatedKeyIsAProblem) { EXPECT_EQ(problems_of("cpus: 1\ncpus: 2\n"), "f:2:1 cpus is given twice\n"); }

TEST(Parse, WrongKindsAreProblemsNotDefaults) {
  EXPECT_NE(problems_of("cpus: [1]\n"), "");
  EXPECT_NE(problems_of("vm: qemu\n"), "");
  EXPECT_NE(problems_of("- a\n- b\n"), "");
  EXPECT_NE(problems_of("just words"), "");
  EXPECT_NE(problems_of("cpus:\n"), "");
  EXPECT_NE(problems_of("[a]: 1\n"), "");
}

TEST(Parse, EveryWrongItemOfAListHasItsPlace) {
  EXPECT_EQ(problems_of("shares:\n  - here\n  - /a\n  - [b]\n"),
            "f:2:5 an item of shares must be a path from / or ~ on, such as ~/src or ~/src:/src:ro, not 'here'\n"
            "f:4:5 shares must be a list of single values\n");
}

TEST(Parse, GroupsInAListAreReadAndEachMistakeHasItsPlace) {
  const Parsed parsed =
      parse_profile("provision:\n- script: |\n    a: 1\n    # b\n  when: ready\n- script: 010\n", "f");
  EXPECT_TRUE(parsed.problems.empty());
  EXPECT_EQ(parsed.profile.provision,
            (std::vector<Script>{{"a: 1\n# b\n", "system", "ready"}, {"010", "system", "after-boot"}}));
  EXPECT_EQ(
      problems_of("provision:\n- a\n- script: [x]\n- script: x\n  script: y\n- wen: ready\n- script: x\n  mode: 1\n"),
      "f:2:3 an item of provision must be a group of 'name: value' lines\n"
      "f:3:3 an item of provision must have single values\n"
      "f:5:3 script is given twice\n"
      "f:6:3 an item of provision has no wen; did you mean when?\n"
      "f:7:3 an item of provision has a mode that must be system or user, not '1'\n");
  EXPECT_EQ(problems_of("provision: x\n"), "f:1:12 provision must be a list\n");
}

TEST(Parse, WhatLooksLikeACommentInAValueIsPartOfIt) {
  EXPECT_EQ(parse_profile("# a\nenv:\n  # b\n  A: \"x\n    # y\"\n", "f").profile.env.at("A"), "x # y");
  EXPECT_EQ(parse_profile("env:\n  # b\n  A: >-\n    x\n    # y\n", "f").profile.env.at("A"), "x # y");
  EXPECT_EQ(problems_of("# a\ncpus: x # b\n# c\n  # d\nmemry: 2\n"),
            "f:2:7 cpus must be a whole number from 1, not 'x'\nf:5:1 unknown key memry; did you mean memory?\n");
}

TEST(Parse, KubernetesIsKeptForLater) {
  EXPECT_EQ(problems_of("kubernetes:\n  enabled: true\n"),
            "f:1:1 kubernetes is kept for later: there is no Kubernetes here yet\n");
}

TEST(Parse, AKeyWithAPointIsToldHowToBeWritten) {
  EXPECT_EQ(problems_of("vm.accel: tcg\n"), "f:1:1 write this as 'accel:' under 'vm:'\n");
  EXPECT_EQ(problems_of("accel: tcg\n"), "f:1:1 unknown key accel; did you mean vm.accel?\n");
}

TEST(Parse, WhatIsNotWrittenKeepsTheBase) {
  Profile base;
  base.cpus = 7;
  EXPECT_EQ(parse_profile("memory: 3GiB\n", "f", base).profile.cpus, 7);
}

TEST(Parse, DepthAndAliasesCannotEndUs) {
  EXPECT_NE(problems_of("shares: " + std::string(200'000, '[')), "");
  std::string dashes;
  for (int i = 0; i < 100'000; ++i) dashes += "- ";
  EXPECT_NE(problems_of("shares: \n" + dashes), "");
  EXPECT_NE(problems_of("shares: &s [*s]\n"), "");
  EXPECT_EQ(problems_of(std::string("---\n&a@\0s:, !!intt 44m\n", 21)),  // yaml-cpp 0.7 takes all memory for this
            "f:2:4 this character does not belong into YAML\n");
  EXPECT_EQ(problems_of("cpus: 1\n--- \ncpus: 2\n"), "f:2:1 this does not belong to the profile\n");
  EXPECT_NE(problems_of(","), "");  // for which yaml-cpp 0.7 finds documents without end
  EXPECT_NE(problems_of("{cpus: 1}\nmemory: 1GiB\n"), "");
}

TEST(Parse, BrokenYamlIsAProblemWithItsPlace) { EXPECT_EQ(problems_of("cpus: [1\n").substr(0, 2), "f:"); }

}  // namespace
}  // namespace cl
