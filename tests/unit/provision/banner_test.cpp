#include "provision/ssh/banner.hpp"

#include <gtest/gtest.h>

#include <string>

#include "provision/ssh/channel.hpp"

namespace cl::ssh {
namespace {

struct Found {
  bool found = false;
  std::string rest;
};

/// Feeds `bytes` in pieces of `step`, as a connection does: what was not dropped stays unread.
Found feed(const std::string& bytes, std::size_t step) {
  BannerFinder finder;
  std::string unread;
  for (std::size_t at = 0; at < bytes.size(); at += step) {
    unread += bytes.substr(at, step);
    const auto seen = finder.look(unread);
    unread.erase(0, seen.drop);
    if (seen.found) return Found{true, unread + bytes.substr(std::min(bytes.size(), at + step))};
  }
  return Found{false, unread};
}

class Banner : public ::testing::TestWithParam<std::size_t> {};
INSTANTIATE_TEST_SUITE_P(Steps, Banner, ::testing::Values(1, 2, 7, 1000));

TEST_P(Banner, IsFoundAtTheFront) {
  const Found found = feed("SSH-2.0-OpenSSH_10.0\r\nbinary", GetParam());
  EXPECT_TRUE(found.found);
  EXPECT_EQ(found.rest, "SSH-2.0-OpenSSH_10.0\r\nbinary");
}

TEST_P(Banner, IsFoundBehindOtherLinesAndTheRestOfAnOldConnection) {
  const std::string junk = std::string("\0\x01\xff", 3) + std::string(5000, 'x') + "SSH-2.0-not at a line's start";
  const Found found = feed(junk + "\r\ncolima-like\r\nSSH-2.0-new\r\n", GetParam());
  EXPECT_TRUE(found.found);
  EXPECT_EQ(found.rest, "SSH-2.0-new\r\n");
}

TEST_P(Banner, IsNotSeenBeforeItsLineIsComplete) {
  const Found found = feed("hello\nSSH-2.0-OpenSSH", GetParam());
  EXPECT_FALSE(found.found);
  EXPECT_EQ(found.rest, "SSH-2.0-OpenSSH");
}

TEST_P(Banner, IsNoLineThatIsTooLongForOne) {
  const Found found = feed("SSH-2.0-" + std::string(300, 'x') + "\n", GetParam());
  EXPECT_FALSE(found.found);
  EXPECT_EQ(found.rest, "");
}

TEST(Banner, FinderCountsWhatItDrops) {
  BannerFinder finder;
  finder.look(std::string(1000, 'x'));
  EXPECT_EQ(finder.dropped(), 1000U);
}

TEST(SignalNumber, IsThatOfALinuxGuest) {
  EXPECT_EQ(linux_signal_number("KILL"), 9);
  EXPECT_EQ(linux_signal_number("TERM"), 15);
  EXPECT_EQ(linux_signal_number("USR1"), 10);
  EXPECT_EQ(linux_signal_number("SIG@openssh.com"), 0);
}

}  // namespace
}  // namespace cl::ssh
