#include "src/base/shell.hpp"

#include <gtest/gtest.h>

namespace cl {
namespace {

TEST(ShellQuoted, IsOneWordWhateverIsInIt) {
  EXPECT_EQ(shell_quoted(""), "''");
  EXPECT_EQ(shell_quoted("two words"), "'two words'");
  EXPECT_EQ(shell_quoted("it's $(here)"), "'it'\\''s $(here)'");
}

}  // namespace
}  // namespace cl
