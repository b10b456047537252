#include "src/base/path_guard.hpp"

#include <gtest/gtest.h>

namespace cl {
namespace {

const GuardedPaths home{"/h", {"/h/.ssh", "/h/.config/gcloud"}, {"/h/.bashrc", "/h/.config/fish"}};

/// The letters of what may be done with the path: look, read, write, make, make_folder, remove.
std::string uses(const std::string& path) {
  std::string text;
  for (const auto& [letter, use] :
       {std::pair('l', PathUse::look), std::pair('r', PathUse::read), std::pair('w', PathUse::write),
        std::pair('m', PathUse::make), std::pair('f', PathUse::make_folder), std::pair('d', PathUse::remove)})
    if (may_use(home, path, use)) text += letter;
  return text;
}

TEST(PathGuard, NeedsAKernelThatLetsItReadItsServersPaths) {
  EXPECT_EQ(why_no_path_guard(0, false), "");
  EXPECT_EQ(why_no_path_guard(1, false), "") << "of one's own children";
  EXPECT_NE(why_no_path_guard(2, false).find("kernel.yama.ptrace_scope is 2"), std::string::npos);
  EXPECT_EQ(why_no_path_guard(2, true), "");
  EXPECT_NE(why_no_path_guard(3, true), "");
}

TEST(PathGuard, OfWhatIsHiddenOnlyTheNameIsSeen) {
  EXPECT_EQ(uses("/h/.ssh"), "l");
  EXPECT_EQ(uses("/h/.ssh/id"), "");
  EXPECT_EQ(uses("/h/.ssh/"), "");
  EXPECT_EQ(uses("/h/.config/gcloud/a/b"), "");
}

TEST(PathGuard, WhatIsKeptIsReadAndNotChanged) {
  EXPECT_EQ(uses("/h/.bashrc"), "lr");
  EXPECT_EQ(uses("/h/.config/fish"), "lr");
  EXPECT_EQ(uses("/h/.config/fish/conf.d/new.fish"), "lr");
}

TEST(PathGuard, WhatIsAboveStaysWhereItIsAndIsNoLink) {
  EXPECT_EQ(uses("/h/.config"), "lrwf") << "what would be made there instead would not be guarded";
  EXPECT_EQ(uses("/h"), "lrwf");
  EXPECT_EQ(uses("/"), "lrwf");
}

TEST(PathGuard, AllElseIsAsItWas) {
  for (const char* path :
       {"/h/work", "/h/.sshd", "/h/.ss", "/h/work/.ssh", "/h/.config/other", "/h/.bashrc2", "pipe:[1]"})
    EXPECT_EQ(uses(path), "lrwmfd") << path;
}

TEST(PathGuard, CaseMakesNoDifferenceAsOnSomeFileSystems) {
  EXPECT_EQ(uses("/h/.SSH/id"), "");
  EXPECT_EQ(uses("/h/.BashRC"), "lr");
}

}  // namespace
}  // namespace cl
