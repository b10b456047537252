#include "vm/vz/rosetta.hpp"

#include <gtest/gtest.h>

#include "src/base/error.hpp"

namespace cl {
namespace {

const RosettaFacts good{"vz", "aarch64", "aarch64", "15.6", true, "6.12.57+deb13-cloud-arm64"};

RosettaChoice automatic(const RosettaFacts& facts) { return choose_rosetta(RosettaWish::automatic, facts); }

TEST(Rosetta, IsUsedWhereItWorks) {
  EXPECT_TRUE(automatic(good).use);
  EXPECT_TRUE(choose_rosetta(RosettaWish::on, good).use);
  EXPECT_EQ(automatic(good).why_not, "");
  EXPECT_EQ(automatic(good).doubt, "");
}

TEST(Rosetta, IsOffWithoutAWordWhenItIsTurnedOff) {
  const RosettaChoice choice = choose_rosetta(RosettaWish::off, good);
  EXPECT_FALSE(choice.use);
  EXPECT_EQ(choice.why_not, "");
}

struct Case {
  const char* name;
  void (*change)(RosettaFacts&);
  const char* why;
};
class RosettaRefusal : public testing::TestWithParam<Case> {};
TEST_P(RosettaRefusal, IsAReasonForAutoAndAnErrorForOn) {
  RosettaFacts facts = good;
  GetParam().change(facts);
  const RosettaChoice choice = automatic(facts);
  EXPECT_FALSE(choice.use);
  EXPECT_NE(choice.why_not.find(GetParam().why), std::string::npos) << choice.why_not;
  try {
    choose_rosetta(RosettaWish::on, facts);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::host_requirement);
    EXPECT_EQ(error.cause(), choice.why_not);
    EXPECT_NE(error.remedy().find("set vm.rosetta to auto"), std::string::npos);
  }
}
INSTANTIATE_TEST_SUITE_P(
    All, RosettaRefusal,
    testing::Values(Case{"Qemu", [](RosettaFacts& f) { f.driver = "qemu"; }, "only in machines of Apple's framework"},
                    Case{"IntelMac", [](RosettaFacts& f) { f.host_arch = f.guest_arch = "x86_64"; }, "Intel CPU"},
                    Case{"ForeignGuest", [](RosettaFacts& f) { f.guest_arch = "x86_64"; }, "aarch64 machines alone"},
                    Case{"OldMacos", [](RosettaFacts& f) { f.macos_version = "12.7.6"; }, "came with macOS 13"},
                    Case{"NotInstalled", [](RosettaFacts& f) { f.installed = false; }, "not installed"},
                    Case{"Kernel613", [](RosettaFacts& f) { f.guest_kernel = "6.13.0"; }, "vector type 29"},
                    Case{"Kernel70",
                         [](RosettaFacts& f) {
                           f.guest_kernel = "7.0-rc1";
                           f.macos_version = "15.7.3";
                         },
                         "vector type 29"},
                    Case{"Kernel63OnVentura",
                         [](RosettaFacts& f) {
                           f.guest_kernel = "6.12.1";
                           f.macos_version = "13.6.2";
                         },
                         "vector type 28"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(Rosetta, OfMacos26RunsOnEveryKernel) {
  RosettaFacts facts = good;
  facts.macos_version = "26.0";
  facts.guest_kernel = "6.17.8";
  EXPECT_TRUE(automatic(facts).use);
  EXPECT_EQ(automatic(facts).doubt, "");
}

TEST(Rosetta, OfMacos13RunsOnTheKernelOfDebian12) {
  RosettaFacts facts = good;
  facts.macos_version = "13.5";
  facts.guest_kernel = "6.1.0-41-cloud-arm64";
  EXPECT_TRUE(automatic(facts).use);
}

TEST(Rosetta, IsTriedWhereOnlySomeReleasesFail) {
  RosettaFacts facts = good;
  facts.macos_version = "15.3.2";
  const RosettaChoice choice = automatic(facts);
  EXPECT_TRUE(choice.use);
  EXPECT_NE(choice.doubt.find("DT_HASH"), std::string::npos);
  EXPECT_EQ(choice.why_not, "");
}

TEST(Rosetta, IsTriedWhenTheKernelIsUnknown) {
  RosettaFacts facts = good;
  facts.guest_kernel.clear();
  EXPECT_TRUE(automatic(facts).use);
}

TEST(Rosetta, IsBuiltIntoMacos27) { EXPECT_TRUE(rosetta_installed("27.0")); }

}  // namespace
}  // namespace cl
