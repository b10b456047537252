#include "src/base/path.hpp"

#include <gtest/gtest.h>

#include <cstdlib>

namespace cl {
namespace {

TEST(Path, WhatIsBelowAFolderIsToldByNames) {
  EXPECT_TRUE(is_below("/a/b", "/a"));
  EXPECT_TRUE(is_below("/a", "/a"));
  EXPECT_TRUE(is_below("/a/b", "/a/"));
  EXPECT_TRUE(is_below("/a", "/a/"));
  EXPECT_TRUE(is_below("/anything", "/"));
  EXPECT_FALSE(is_below("/ab", "/a"));
  EXPECT_FALSE(is_below("/a", "/a/b"));
  EXPECT_FALSE(is_below("/", "/a"));
}

TEST(Path, OnlyTheUsersOwnHomeIsExpanded) {
  EXPECT_EQ(expand_home("~", "/home/u"), "/home/u");
  EXPECT_EQ(expand_home("~/src", "/home/u"), "/home/u/src");
  for (const char* text : {"~other/src", "/~/src", "a/~", ""}) EXPECT_EQ(expand_home(text, "/home/u"), text);
}

TEST(Path, TheHomeIsTheSystemsWithoutAVariable) {
  const std::string before = std::getenv("HOME") != nullptr ? std::getenv("HOME") : "";
  ::setenv("HOME", "/somewhere", 1);
  EXPECT_EQ(user_home(), "/somewhere");
  ::setenv("HOME", "not/absolute", 1);
  EXPECT_TRUE(user_home().is_absolute());
  ::unsetenv("HOME");
  EXPECT_TRUE(user_home().is_absolute());
  if (!before.empty()) ::setenv("HOME", before.c_str(), 1);
}

}  // namespace
}  // namespace cl
