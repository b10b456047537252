#include "profiles/hidden.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "src/base/error.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl {
namespace {

namespace fs = std::filesystem;

/// "default", "PATH hidden|ro|rw", or what is wrong.
std::string parsed(std::string_view text) {
  HideItem item;
  if (const auto wrong = parse_hide(text, item)) return *wrong;
  if (item.defaults) return "default";
  const auto way = item.way;
  return item.path + (way == HideItem::Way::hidden ? " hidden" : way == HideItem::Way::read_only ? " ro" : " rw");
}

bool contains(const std::vector<fs::path>& paths, const fs::path& path) {
  return std::find(paths.begin(), paths.end(), path) != paths.end();
}

TEST(Hidden, AnItemIsTakenApart) {
  EXPECT_EQ(parsed("default"), "default");
  EXPECT_EQ(parsed("~/.netrc"), "~/.netrc hidden");
  EXPECT_EQ(parsed("/srv/keys:ro"), "/srv/keys ro");
  EXPECT_EQ(parsed("~/with space:rw"), "~/with space rw");
}

TEST(Hidden, NonsenseIsNamed) {
  for (const char* text : {"", "a", "~", "/", "~/", "~u/x", "none", "/a\n/b"})
    EXPECT_NE(parsed(text).find("must be default, or a path"), std::string::npos) << text;
  for (const char* text : {"~/a:", "~/a:no", "~/a:ro:rw"})
    EXPECT_NE(parsed(text).find("is not ro or rw"), std::string::npos) << text;
}

TEST(Hidden, TheDefaultIsKeysBrowsersOurFoldersAndWhatShellsRun) {
  const HiddenPaths paths = hidden_paths({"default"}, "/home/u", {"/home/u/.colima-like", "/data/cache"});
  for (const char* name : {".colima-like", ".ssh", ".gnupg", ".aws", ".azure", ".config/gcloud", ".kube",
                           ".docker/config.json", ".mozilla", ".config/google-chrome"})
    EXPECT_TRUE(contains(paths.hidden, fs::path("/home/u") / name)) << name;
  EXPECT_TRUE(contains(paths.hidden, "/data/cache"));
  for (const char* name : {".bashrc", ".profile", ".bash_profile", ".zshrc", ".zprofile", ".config/fish"})
    EXPECT_TRUE(contains(paths.kept, fs::path("/home/u") / name)) << name;
}

TEST(Hidden, ALaterItemCountsAndNoItemsHideNothing) {
  HiddenPaths paths = hidden_paths({"default", "~/.aws:ro", "~/.kube:rw", "~/.netrc"}, "/home/u", {});
  EXPECT_FALSE(contains(paths.hidden, "/home/u/.aws"));
  EXPECT_TRUE(contains(paths.kept, "/home/u/.aws"));
  EXPECT_FALSE(contains(paths.hidden, "/home/u/.kube") || contains(paths.kept, "/home/u/.kube"));
  EXPECT_TRUE(contains(paths.hidden, "/home/u/.netrc"));
  paths = hidden_paths({"~/.aws:rw", "default"}, "/home/u", {});
  EXPECT_TRUE(contains(paths.hidden, "/home/u/.aws"));
  paths = hidden_paths({}, "/home/u", {"/home/u/.colima-like"});
  EXPECT_TRUE(paths.hidden.empty() && paths.kept.empty());
  EXPECT_THROW(hidden_paths({"no path"}, "/home/u", {}), Error);
}

TEST(Hidden, LinksAreFollowedAndWhatDoesNotExistIsNamed) {
  const test::TempDir dir;
  const fs::path root = fs::canonical(dir.path());
  fs::create_directories(root / "home/dotfiles/ssh");
  fs::create_directories(root / "outside");
  fs::create_directory_symlink("dotfiles/ssh", root / "home/.ssh");
  fs::create_directory_symlink(root / "outside", root / "home/.aws");
  fs::create_directory_symlink(root / "home", root / "link");
  const auto found = [&](std::vector<std::string> names) {
    std::vector<fs::path> paths;
    for (const std::string& name : names) paths.push_back(root / "link" / name);
    std::string text;
    for (const fs::path& path : within(paths, root / "home")) text += path.lexically_relative(root).string() + "\n";
    return text;
  };
  EXPECT_EQ(found({".ssh"}), "home/.ssh\nhome/dotfiles/ssh\n");
  EXPECT_EQ(found({".aws"}), "home/.aws\n") << "where it leads is not in the folder";
  EXPECT_EQ(found({".new/deep"}), "home/.new/deep\n");
  EXPECT_EQ(found({"../outside/x", "../home"}), "") << "neither what is elsewhere nor the folder itself";
}

}  // namespace
}  // namespace cl
