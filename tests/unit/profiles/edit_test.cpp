#include "profiles/edit.hpp"

#include <gtest/gtest.h>

#include <random>

#include "profiles/parse.hpp"
#include "src/base/error.hpp"

namespace cl {
namespace {

std::string set(const std::string& yaml, std::string_view key, std::string_view value) {
  return set_in_file(yaml, *find_key(key), value, "f");
}
std::string unset(const std::string& yaml, std::string_view key) { return unset_in_file(yaml, *find_key(key), "f"); }

TEST(Edit, ChangesTheValueAndKeepsItsComment) {
  EXPECT_EQ(set("# mine\ncpus: 2   # as many as I have\nmemory: 4GiB\n", "cpus", "4"),
            "# mine\ncpus: 4   # as many as I have\nmemory: 4GiB\n");
  EXPECT_EQ(set("vm:\n    accel: 'tcg' # slow\n", "vm.accel", "auto"), "vm:\n    accel: auto # slow\n");
  EXPECT_EQ(set("cpus: # few\n  2\n", "cpus", "4"), "cpus: 4 # few\n");
}

TEST(Edit, PutsANewKeyBesideTheDefaultThatTheFileMentions) {
  const std::string yaml = default_profile_yaml();
  const std::string changed = set(yaml, "vm.accel", "tcg");
  EXPECT_NE(changed.find("  # accel: auto\n  accel: tcg\n"), std::string::npos) << changed;
  EXPECT_EQ(unset(changed, "vm.accel"), yaml);
}

TEST(Edit, MakesTheGroupThatIsMissing) {
  EXPECT_EQ(set("cpus: 2\n", "vm.accel", "tcg"), "cpus: 2\n\nvm:\n  accel: tcg\n");
  EXPECT_EQ(set("vm:\n  rosetta: false\ncpus: 2\n", "vm.accel", "tcg"),
            "vm:\n  rosetta: false\n  accel: tcg\ncpus: 2\n");
}

TEST(Edit, ReplacesAListOfSeveralLines) {
  EXPECT_EQ(set("shares:\n- ~/a\n- ~/b\ncpus: 2\n", "shares", "~/c"), "shares: [\"~/c\"]\ncpus: 2\n");
  EXPECT_EQ(unset("shares:\n  - ~/a\n  - ~/b\ncpus: 2\n", "shares"), "cpus: 2\n");
}

TEST(Edit, KnowsScriptsOfSeveralLines) {
  const std::string yaml = "provision:\n- script: |\n    a\n    b\n  mode: user\ncpus: 2\n";
  EXPECT_EQ(unset(yaml, "provision"), "cpus: 2\n");
  EXPECT_EQ(set(yaml, "cpus", "4"), "provision:\n- script: |\n    a\n    b\n  mode: user\ncpus: 4\n");
  EXPECT_EQ(set("cpus: 2\n", "provision", R"([{"script": "a \"b\"\nc: d # e"}])"),
            "cpus: 2\nprovision: "
            R"([{"script":"a \"b\"\nc: d # e","mode":"system","when":"after-boot"}])"
            "\n");
}

TEST(Edit, RefusesWhatWouldLoseComments) {
  EXPECT_THROW(set("shares:\n  - ~/a\n  # and\n  - ~/b\n", "shares", "~/c"), Error);
  EXPECT_THROW(set("vm: {accel: tcg}\n", "vm.accel", "auto"), Error);
  EXPECT_THROW(set("vm: {accel: tcg}\n", "vm.rosetta", "true"), Error);
  EXPECT_THROW(set("--- {cpus: 2}\n...\n", "memory", "4GiB"), Error);
}

TEST(Edit, RefusesWhatIsNotValid) {
  EXPECT_THROW(set("cpus: 2\n", "cpus", "-3"), Error);
  EXPECT_THROW(set("cpus: many\n", "memory", "4GiB"), Error) << "a broken file is not edited";
}

TEST(Edit, UnsettingWhatIsNotThereChangesNothing) { EXPECT_EQ(unset("memory: 4GiB", "cpus"), "memory: 4GiB"); }

/// A file of random lines around random keys: comments, blank lines, groups bare and filled, with and without a last
/// newline.
std::string random_file(std::mt19937& random) {
  auto chance = [&](int of) { return std::uniform_int_distribution<>(1, of)(random) == 1; };
  const std::string end = chance(5) ? "\r\n" : "\n";
  std::string yaml;
  auto noise = [&](const std::string& indent) {
    if (chance(3)) yaml += indent + "# cpus: 2" + end;
    if (chance(3)) yaml += indent + "# words" + end;
    if (chance(3)) yaml += end;
    if (chance(8)) yaml += "      # far in" + end;
  };
  std::string group;
  bool grouped = false;
  for (const Key& key : keys()) {
    const auto dot = key.name.find('.');
    const std::string its_group(key.name.substr(0, dot == std::string_view::npos ? 0 : dot));
    noise(grouped ? "   " : "");
    if (!its_group.empty() && its_group != group && (grouped = !chance(3))) yaml += its_group + ":" + end;
    if (its_group.empty()) grouped = false;
    if (!its_group.empty() && its_group != group && !grouped) noise("");
    group = its_group;
    if (!chance(3) || (!its_group.empty() && !grouped)) continue;
    yaml += its_group.empty() ? "" : "   ";
    yaml += std::string(key.name.substr(dot == std::string_view::npos ? 0 : dot + 1)) + ": ";
    const std::string value = key.get(Profile{});
    yaml += (value.empty() ? "''" : value) + (chance(2) ? "  # why" : "") + end;
  }
  noise("");
  if (chance(3) && !yaml.empty()) yaml.erase(yaml.find_last_not_of("\r\n") + 1);
  return yaml;
}

TEST(Edit, SetThenUnsetGivesTheSameBytes) {
  std::mt19937 random(20261123);
  int changed = 0;
  for (int i = 0; i < 60; ++i) {
    const std::string yaml = random_file(random);
    const Parsed parsed = parse_profile(yaml, "f");
    ASSERT_TRUE(parsed.problems.empty()) << yaml << parsed.problems[0].where << parsed.problems[0].message;
    for (const Key& key : keys()) {
      const std::string value = key.get(Profile{});
      SCOPED_TRACE(std::string(key.name) + " in\n" + yaml);
      std::string with;
      ASSERT_NO_THROW(with = set_in_file(yaml, key, value, "f"));
      if (parsed.given.contains(std::string(key.name))) {
        EXPECT_EQ(parse_profile(with, "f").profile, parsed.profile);
        continue;
      }
      ++changed;
      ASSERT_NE(with, yaml);
      ASSERT_EQ(unset_in_file(with, key, "f"), yaml) << key.name << "\n--- with\n" << with;
    }
  }
  EXPECT_GT(changed, 200);
}

}  // namespace
}  // namespace cl
