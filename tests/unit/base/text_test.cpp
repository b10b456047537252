#include "src/base/text.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <cstdio>

namespace cl {
namespace {

TEST(Text, Base64IsTheStandards) {  // RFC 4648, 10
  EXPECT_EQ(base64(""), "");
  EXPECT_EQ(base64("f"), "Zg==");
  EXPECT_EQ(base64("fo"), "Zm8=");
  EXPECT_EQ(base64("foobar"), "Zm9vYmFy");
  EXPECT_EQ(base64(std::string("\0\xff\xfe", 3)), "AP/+");
}

TEST(Text, WhatIsQuotedIsOneWordForAShell) {
  for (const std::string word : {"", "plain", "it's", "$HOME `x` \\ \"q\" *", "two\nlines", "'"}) {
    FILE* shell = ::popen(("printf %s " + shell_quoted(word)).c_str(), "r");
    ASSERT_NE(shell, nullptr);
    std::array<char, 256> said{};
    const std::size_t got = std::fread(said.data(), 1, said.size(), shell);
    EXPECT_EQ(::pclose(shell), 0);
    EXPECT_EQ(std::string(said.data(), got), word);
  }
}

TEST(Text, AWholeNumberIsNothingElse) {
  EXPECT_EQ(whole_number<int>("42"), 42);
  EXPECT_EQ(whole_number<int>("-1"), -1);
  EXPECT_EQ(whole_number<unsigned>("ff", 16), 255U);
  EXPECT_EQ(whole_number<std::uint64_t>("18446744073709551615"), 18446744073709551615ULL);
  for (const char* text : {"", " 1", "1 ", "+1", "1.0", "0x10", "one"}) EXPECT_FALSE(whole_number<int>(text)) << text;
  EXPECT_FALSE(whole_number<unsigned>("-1"));
  EXPECT_FALSE(whole_number<std::uint16_t>("65536"));
}

}  // namespace
}  // namespace cl
