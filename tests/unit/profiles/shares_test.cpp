#include "profiles/shares.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "src/base/error.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl {
namespace {

namespace fs = std::filesystem;

/// "LOCATION at MOUNT POINT ro|rw TYPE", or what is wrong.
std::string parsed(std::string_view text) {
  ShareItem item;
  if (const auto wrong = parse_share(text, item)) return *wrong;
  return item.location + " at " + item.mount_point + (item.read_only ? " ro " : " rw ") + item.type +
         (item.owner ? " of " + to_string(*item.owner) : "");
}

TEST(Shares, AnItemIsTakenApart) {
  EXPECT_EQ(parsed("~"), "~ at ~ rw ");
  EXPECT_EQ(parsed("/a"), "/a at /a rw ");
  EXPECT_EQ(parsed("~/src:ro"), "~/src at ~/src ro ");
  EXPECT_EQ(parsed("/a:/b"), "/a at /b rw ");
  EXPECT_EQ(parsed("/a:~/b:ro:sshfs"), "/a at ~/b ro sshfs");
  EXPECT_EQ(parsed("/a:virtiofs:rw"), "/a at /a rw virtiofs");
  EXPECT_EQ(parsed("/a:owner=1000"), "/a at /a rw  of 1000.1000");
  EXPECT_EQ(parsed("/a:/b:owner=1000.100:sshfs"), "/a at /b rw sshfs of 1000.100");
  EXPECT_EQ(parsed("/with space/и кириллица, 日本"),
            "/with space/и кириллица, 日本 at /with space/и кириллица, 日本 rw ");
  EXPECT_EQ(parsed("/a'b\"c\\d$e`f"), "/a'b\"c\\d$e`f at /a'b\"c\\d$e`f rw ");
}

TEST(Shares, NonsenseIsNamed) {
  for (const char* text : {"", "a", "./a", "~u", ":/a", "/a:", "/a:b", "/a:/b:/c", "/a:ro:rw", "/a:ro:/b",
                           "/a:sshfs:9p", "/a:nfs", "/a\n/b"})
    EXPECT_NE(parsed(text).find("must be"), parsed(text).find("which is no mount point")) << text;
  EXPECT_NE(parsed("/a:nfs").find("'nfs'"), std::string::npos);
  for (const char* text :
       {"/a:owner=", "/a:owner=me", "/a:owner=1.", "/a:owner=4294967295", "/a:owner=-1", "/a:owner=1.2.3"})
    EXPECT_NE(parsed(text).find("an owner is a number"), std::string::npos) << text;
  EXPECT_NE(parsed("/a:owner=1:owner=2").find("which is no mount point"), std::string::npos);
}

class PlannedShares : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* folder : {"home/src/lib", "home/my work", "data"}) fs::create_directories(root() / folder);
    fs::create_directory_symlink(root() / "data", root() / "home/link");
  }
  fs::path root() const { return fs::canonical(dir_.path()); }
  /// One line each: "LOCATION>MOUNT POINT ro type problem" below the root.
  std::string plan(std::vector<std::string> items) const {
    Profile profile;
    for (std::string& item : items)
      for (std::size_t at; (at = item.find('@')) != std::string::npos;) item.replace(at, 1, root().string());
    profile.shares = std::move(items);
    std::string text;
    try {
      for (const Share& share : plan_shares(profile, root() / "home"))
        text += share.location.string() + ">" + share.mount_point.string() + (share.read_only ? " ro" : "") +
                (share.type == "auto" ? "" : " " + share.type) + (share.problem.empty() ? "" : " !" + share.problem) +
                "\n";
    } catch (const Error& error) {
      return std::string("refused: ") + error.what() + ": " + error.cause();
    }
    for (std::size_t at; (at = text.find(root().string())) != std::string::npos;)
      text.replace(at, root().string().size(), "@");
    return text;
  }

  test::TempDir dir_;
};

TEST_F(PlannedShares, HomeIsAtTheSamePath) {
  EXPECT_EQ(plan({"~"}), "@/home>@/home\n");
  EXPECT_EQ(plan({"~/"}), "@/home>@/home\n");
  EXPECT_EQ(plan({"~/my work:/work"}), "@/home/my work>/work\n");
  EXPECT_EQ(plan({}), "");
}

TEST_F(PlannedShares, ALinkIsServedFromWhereItLeadsAndSeenWhereItIs) {
  EXPECT_EQ(plan({"~/link"}), "@/data>@/home/link\n");
}

TEST_F(PlannedShares, WhatAnotherShareShowsAlreadyIsLeftOut) {
  EXPECT_EQ(plan({"~/src", "~"}), "@/home>@/home\n");
  EXPECT_EQ(plan({"~", "~"}), "@/home>@/home\n");
}

TEST_F(PlannedShares, AnInnerOneWithOtherRightsIsMountedAfterItsParent) {
  EXPECT_EQ(plan({"~/src:ro", "~"}), "@/home>@/home\n@/home/src>@/home/src ro\n");
  EXPECT_EQ(plan({"~/src/lib", "~/src:ro", "~"}),
            "@/home>@/home\n@/home/src>@/home/src ro\n@/home/src/lib>@/home/src/lib\n");
  EXPECT_EQ(plan({"~", "~/src:sshfs"}), "@/home>@/home\n@/home/src>@/home/src sshfs\n");
}

TEST_F(PlannedShares, WhatWouldHideSomethingIsRefused) {
  EXPECT_NE(plan({"~", "@/data:~/src"}).find("refused: "), std::string::npos);
  EXPECT_NE(plan({"~", "@/data:~"}).find("is shared there already"), std::string::npos);
  EXPECT_NE(plan({"~", "~:ro"}).find("is shared there already"), std::string::npos);
  EXPECT_NE(plan({"@/data:/"}).find("has its own root"), std::string::npos);
  for (const char* place : {"/usr", "/usr/local", "/etc/x", "/var", "/var/lib/docker", "/proc/1", "/dev"})
    EXPECT_NE(plan({std::string("@/data:") + place}).find("own system"), std::string::npos) << place;
  EXPECT_EQ(plan({"@/data:/var/folders"}), "@/data>/var/folders\n");
  EXPECT_EQ(plan({"@/data:/users"}), "@/data>/users\n") << "only begins like /usr";
}

TEST_F(PlannedShares, AMissingFolderIsThatSharesProblemAlone) {
  EXPECT_EQ(plan({"@/gone", "@/data"}), "@/gone>@/gone !there is no folder @/gone on this computer\n@/data>@/data\n");
  std::ofstream(root() / "file") << "x";
  EXPECT_NE(plan({"@/file"}).find("!@/file is no folder"), std::string::npos);
  fs::create_directory_symlink(root() / "nowhere", root() / "dangling");
  EXPECT_NE(plan({"@/dangling"}).find("!there is no folder"), std::string::npos);
}

TEST_F(PlannedShares, AHomeThatCannotBeSharedKeepsNothingFromStarting) {
  Profile profile;
  const auto plan = plan_shares(profile, "/");
  ASSERT_EQ(plan.size(), 1u);
  EXPECT_NE(plan[0].problem, "");
}

TEST_F(PlannedShares, TheTypeIsTheItemsOrTheProfiles) {
  Profile profile;
  profile.shares = {"~", (root() / "data").string() + ":virtiofs"};
  profile.share_type = "sshfs";
  const auto plan = plan_shares(profile, root() / "home");
  ASSERT_EQ(plan.size(), 2u);
  EXPECT_EQ(plan[0].type, plan[0].location == root() / "data" ? "virtiofs" : "sshfs");
  EXPECT_NE(plan[0].type, plan[1].type);
}

TEST_F(PlannedShares, WhatIsHiddenLiesInTheShare) {
  fs::create_directories(root() / "home/.kube/cache");
  Profile profile;
  profile.shares = {"~", (root() / "data").string()};
  profile.share_hide = {"default", (root() / "data/x:ro").string()};
  const auto plan = plan_shares(profile, root() / "home", {root() / "home/.colima-like"});
  ASSERT_EQ(plan.size(), 2u);
  const Share& home = plan[plan[0].location == root() / "data" ? 1 : 0];
  const Share& data = plan[plan[0].location == root() / "data" ? 0 : 1];
  const auto has = [](const std::vector<fs::path>& paths, const fs::path& path) {
    return std::find(paths.begin(), paths.end(), path) != paths.end();
  };
  EXPECT_TRUE(has(home.hidden, root() / "home/.kube"));
  EXPECT_TRUE(has(home.hidden, root() / "home/.colima-like"));
  EXPECT_TRUE(has(home.kept, root() / "home/.bashrc"));
  EXPECT_TRUE(data.hidden.empty());
  EXPECT_EQ(data.kept, std::vector<fs::path>{root() / "data/x"});
}

TEST_F(PlannedShares, WhatIsHiddenIsSeenWhereItIsAShareItself) {
  fs::create_directories(root() / "home/.kube/cache");
  EXPECT_EQ(plan({"~", "~/.kube"}), "@/home>@/home\n@/home/.kube>@/home/.kube\n") << "it is not in the first one";
  EXPECT_EQ(plan({"~", "~/.kube:ro"}), "@/home>@/home\n@/home/.kube>@/home/.kube ro\n");
  const std::string refused = plan({"~", "~/.kube/cache"});
  EXPECT_NE(refused.find("which is hidden in the share " + (root() / "home").string()), std::string::npos) << refused;
  EXPECT_EQ(plan({"~", "~/.kube/cache:@/cache"}), "@/home>@/home\n@/home/.kube/cache>@/cache\n");
}

TEST(Shares, StatesSurviveTheirFile) {
  const std::vector<ShareState> states{{"/a b",
                                        "/l",
                                        "/m",
                                        true,
                                        "virtiofs",
                                        "why",
                                        "share0",
                                        "gone",
                                        {"/a b/.ssh"},
                                        {"/a b/.bashrc", "/a b/x"},
                                        "1000.100"},
                                       {}};
  EXPECT_EQ(shares_from_json(to_json(states)), states);
  auto older = to_json(states);
  for (auto& one : older) {
    one.as_object().erase("hidden");
    one.as_object().erase("kept");
    one.as_object().erase("owner");
  }
  EXPECT_TRUE(shares_from_json(older)[0].hidden.empty()) << "an older program hid nothing";
}

}  // namespace
}  // namespace cl
