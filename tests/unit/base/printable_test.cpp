#include "src/base/printable.hpp"

#include <gtest/gtest.h>

namespace cl {
namespace {

TEST(Printable, LeavesTextAlone) {
  for (const char* text : {"", "plain", "tab\there", "Grüße, 日本, \xf0\x9f\x90\xb3"}) EXPECT_EQ(printable(text), text);
}

// A container's name, from an engine that is the guest's: it wrote the clipboard (OSC 52), and cleared the screen.
TEST(Printable, ShowsWhatATerminalWouldObey) {
  EXPECT_EQ(printable("ok\x1b]52;c;eA==\x07\x1b[2J"), "ok\\x1b]52;c;eA==\\x07\\x1b[2J");
  EXPECT_EQ(printable("a\rb\x7f"), "a\\x0db\\x7f");
  EXPECT_EQ(printable("\xc2\x9b"
                      "2J"),
            "\\xc2\\x9b2J")
      << "C1, as a terminal of UTF-8 knows it";
  EXPECT_EQ(printable(std::string_view("\0", 1)), "\\x00");
}

TEST(Printable, ShowsWhatAReaderWouldNotSee) {
  EXPECT_EQ(printable("a\xe2\x80\xae"
                      "b"),
            "a\\xe2\\x80\\xaeb")
      << "right to left";
  EXPECT_EQ(printable("a\xe2\x80\x8b"
                      "b"),
            "a\\xe2\\x80\\x8bb")
      << "no width";
}

TEST(Printable, ShowsBytesThatAreNoText) {
  EXPECT_EQ(printable("\xff"), "\\xff");
  EXPECT_EQ(printable("\xc3"), "\\xc3") << "cut off";
  EXPECT_EQ(printable("\xc0\x80"), "\\xc0\\x80") << "longer than it needs to be";
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80") << "half of a pair";
}

TEST(Printable, KeepsLinesWhereTheyAreWanted) {
  EXPECT_EQ(printable("one\ntwo"), "one\\x0atwo");
  EXPECT_EQ(printable("one\ntwo\r\n", true), "one\ntwo\\x0d\n");
}

TEST(Printable, KnowsUtf8) {
  for (const char* text : {"", "plain\n", "gr\xc3\xbc\xc3\x9f", "\xf0\x9f\x90\x8b"}) EXPECT_TRUE(is_utf8(text)) << text;
  for (const char* text : {"\xff", "cut \xc3", "\xc0\x80", "\xed\xa0\x80", "\xf5\x80\x80\x80"})
    EXPECT_FALSE(is_utf8(text));
}

}  // namespace
}  // namespace cl
