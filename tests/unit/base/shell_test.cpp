#include "src/base/shell.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <string>

namespace cl {
namespace {

TEST(ShellQuoted, IsOneWordWhateverIsInIt) {
  EXPECT_EQ(shell_quoted(""), "''");
  EXPECT_EQ(shell_quoted("two words"), "'two words'");
  EXPECT_EQ(shell_quoted("it's $(here)"), "'it'\\''s $(here)'");
}

TEST(ShellQuoted, IsReadBackByAShell) {
  for (const std::string word : {"", "plain", "it's", "$HOME `x` \\ \"q\" *", "two\nlines", "'"}) {
    FILE* shell = ::popen(("printf %s " + shell_quoted(word)).c_str(), "r");
    ASSERT_NE(shell, nullptr);
    std::array<char, 256> said{};
    const std::size_t got = std::fread(said.data(), 1, said.size(), shell);
    EXPECT_EQ(::pclose(shell), 0);
    EXPECT_EQ(std::string(said.data(), got), word);
  }
}

}  // namespace
}  // namespace cl
