#include "profiles/keys.hpp"

#include <gtest/gtest.h>

namespace cl {
namespace {

const HostFacts host{4, ByteSize::gib(8), "linux", "x86_64"};

std::string set(Profile& profile, std::string_view key, std::string_view text) {
  return find_key(key)->set(profile, text).value_or("");
}

TEST(Keys, EveryKeyTakesWhatItGives) {
  const Profile defaults;
  for (const Key& key : keys()) {
    Profile profile;
    EXPECT_EQ(key.set(profile, key.get(defaults)), std::nullopt) << key.name;
    EXPECT_EQ(profile, defaults) << key.name;
  }
}

TEST(Keys, CpusMustBeAPositiveWholeNumber) {
  for (const char* text : {"-3", "0", "1.5", "two", "", "2 ", "0x2", "99999999999999"}) {
    Profile profile;
    EXPECT_NE(set(profile, "cpus", text), "") << text;
    EXPECT_EQ(profile, Profile{}) << text;
  }
  Profile profile;
  EXPECT_EQ(set(profile, "cpus", "010"), "") << "read as decimal ten, not as octal eight";
  EXPECT_EQ(profile.cpus, 10);
}

TEST(Keys, MemoryHasALeastSize) {
  Profile profile;
  EXPECT_NE(set(profile, "memory", "0.1"), "");
  EXPECT_NE(set(profile, "memory", "-4GiB"), "");
  EXPECT_EQ(set(profile, "memory", "512MiB"), "");
  EXPECT_EQ(profile.memory, ByteSize::mib(512));
}

TEST(Keys, ChoicesNameThemselvesInTheirError) {
  Profile profile;
  EXPECT_EQ(set(profile, "vm.accel", "xen"), "must be auto, kvm, hvf or tcg, not 'xen'");
  EXPECT_NE(set(profile, "arch", "sparc"), "");
}

TEST(Check, FindsEveryProblemAtOnce) {
  Profile profile;
  profile.cpus = 5;
  profile.memory = ByteSize::gib(9);
  profile.accel = "hvf";
  const auto problems = check(profile, host);
  ASSERT_EQ(problems.size(), 3U);
  EXPECT_EQ(problems[0].where, "cpus");
  EXPECT_EQ(problems[1].where, "memory");
  EXPECT_EQ(problems[2].where, "vm.accel");
}

TEST(Check, AnAcceleratorRunsOnlyTheHostsArchitecture) {
  Profile profile;
  profile.arch = "aarch64";
  profile.accel = "kvm";
  EXPECT_EQ(check(profile, host).size(), 1U);
  profile.accel = "auto";
  EXPECT_TRUE(check(profile, host).empty());
}

TEST(Nearest, OffersWhatIsNearAndNothingElse) {
  const std::array<std::string_view, 3> words{"start", "status", "stop"};
  EXPECT_EQ(nearest("strat", words), "start");
  EXPECT_EQ(nearest("sttus", words), "status");
  EXPECT_EQ(nearest("kubernetes", words), "");
}

}  // namespace
}  // namespace cl
