#include "src/base/text.hpp"

#include <gtest/gtest.h>

#include <cstdint>

namespace cl {
namespace {

TEST(Text, Base64IsTheStandards) {  // RFC 4648, 10
  EXPECT_EQ(base64(""), "");
  EXPECT_EQ(base64("f"), "Zg==");
  EXPECT_EQ(base64("fo"), "Zm8=");
  EXPECT_EQ(base64("foobar"), "Zm9vYmFy");
  EXPECT_EQ(base64(std::string("\0\xff\xfe", 3)), "AP/+");
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
