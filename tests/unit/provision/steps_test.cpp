#include "provision/steps.hpp"

#include <gtest/gtest.h>

namespace cl {
namespace {

TEST(StepReader, TellsEachStepInWordsAndWhatChanged) {
  StepReader reader;
  EXPECT_EQ(reader.line("@step docker-install"), "");
  EXPECT_EQ(reader.line("@doing docker-install"), "installing Docker in the guest");
  EXPECT_EQ(reader.line("Get:1 http://deb.debian.org"), "");
  EXPECT_EQ(reader.line("@done docker-install changed"), "");
  EXPECT_EQ(reader.line("@step docker-start"), "");
  EXPECT_EQ(reader.line("@done docker-start unchanged"), "");
  ASSERT_EQ(reader.finished().size(), 2U);
  EXPECT_TRUE(reader.finished()[0].changed);
  EXPECT_FALSE(reader.finished()[1].changed);
}

TEST(StepReader, AFailureNamesTheStepAndShowsItsLastLinesOnly) {
  StepReader reader;
  reader.line("@step docker-install");
  reader.line("old news");
  reader.line("@done docker-install unchanged");
  reader.line("@step docker-start");
  for (int i = 0; i < 40; ++i) reader.line("line " + std::to_string(i));
  const Error error = reader.failure(1, "and stderr\n");
  EXPECT_EQ(error.code(), Errc::guest_failed);
  EXPECT_STREQ(error.what(), "Docker failed to start in the guest");
  EXPECT_EQ(error.cause().find("old news"), std::string::npos);
  EXPECT_EQ(error.cause().find("line 3\n"), std::string::npos);
  EXPECT_NE(error.cause().find("line 39\nand stderr"), std::string::npos) << error.cause();
  EXPECT_FALSE(error.remedy().empty());
}

TEST(StepReader, AScriptThatDiesSilentlyStillSaysSomething) {
  StepReader reader;
  EXPECT_NE(reader.failure(137, "").cause().find("137"), std::string::npos);
}

TEST(StepReader, EndlessOutputIsBounded) {
  StepReader reader;
  reader.line("@step docker-install");
  for (int i = 0; i < 100000; ++i) reader.line(std::string(100, 'x'));
  EXPECT_LT(reader.failure(1, "").cause().size(), 4000U);
}

}  // namespace
}  // namespace cl
