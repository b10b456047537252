#include "tests/support/case_file.hpp"

#include <gtest/gtest.h>

#include <stdexcept>

#include "tests/support/golden.hpp"

namespace cl::test {
namespace {

std::string wrong(const std::string& text) {
  try {
    parse_case("x", text);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "";
}

TEST(CaseFiles, AreAFewLines) {
  const CaseFile one =
      parse_case("greeting",
                 "# as reported\nname: a greeting\nrequires: share curl\nrun:\n  echo hello\n\n  exit 3\n"
                 "expect: hello\nexpect sshfs:\n  bye *\n  now\nerror: oh\nexit: 3\nbecause: it is late\n");
  EXPECT_EQ(one.run, "echo hello\n\nexit 3\n");
  EXPECT_TRUE(one.in_share());
  EXPECT_EQ(one.exit, 3);
  EXPECT_EQ(one.expected("virtiofs"), std::vector<std::string>{"hello"});
  EXPECT_EQ(one.expected("sshfs"), (std::vector<std::string>{"bye *", "now"}));
}

TEST(CaseFiles, SayWhatALocalEngineDoes) {
  const CaseFile same = parse_case("x", "name: a\nrun:\n  true\nexpect: b\nerror: no\nexit: 3\n");
  EXPECT_EQ(same.expected_locally(), std::vector<std::string>{"b"});
  EXPECT_EQ(same.exit_locally(), 3);
  const CaseFile other = parse_case("x", "name: a\nrun:\n  true\nexit: 3\nexpect local: c\nbecause: d\n");
  EXPECT_EQ(other.expected_locally(), std::vector<std::string>{"c"});
  EXPECT_EQ(other.exit_locally(), 0) << "what is refused here works there";
  EXPECT_NE(compatibility({same, other}).find("| a | `c` | refused | d |"), std::string::npos)
      << compatibility({other});
}

TEST(CaseFiles, ThatCannotFailOrAreMisspeltAreRefused) {
  EXPECT_EQ(wrong("name: a\nrun:\n  true\n"), "x.case: it expects nothing");
  EXPECT_EQ(wrong("name: a\nexpect: b\n"), "x.case: it has no name, or nothing to run");
  EXPECT_EQ(wrong("name: a\nrum:\n  true\n"), "x.case: there is no key 'rum'");
  EXPECT_NE(wrong("name: a\nrun:\n  true\nexpect: b\nexpect local: c\n"), "") << "it does not say why";
}

TEST(CaseFiles, CompareLineByLine) {
  EXPECT_TRUE(fits({"a b", "c*e"}, "  a   b\ncde\n"));
  EXPECT_FALSE(fits({"a"}, "a\nb\n"));
  EXPECT_FALSE(fits({"a*"}, "b\n"));
  EXPECT_TRUE(fits({}, ""));
  EXPECT_FALSE(fits({"a", "*"}, "a\n"));
}

TEST(CaseFiles, AreWhatTheTableOfCompatibilityIsMadeOf) {
  const fs::path source(COLIMA_LIKE_SOURCE);
  expect_golden("../../docs/compatibility.md", compatibility(read_cases(source / "tests/cases")));
}

}  // namespace
}  // namespace cl::test
