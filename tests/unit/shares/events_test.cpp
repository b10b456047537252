#include "src/shares/events.hpp"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <fstream>

#include "tests/support/temp_dir.hpp"

namespace cl::test {
namespace {

namespace fs = std::filesystem;

TEST(BoundPaths, AreTheSourcesOfBindMounts) {
  const auto containers = boost::json::parse(R"([
    {"Id": "a", "Mounts": [{"Type": "bind", "Source": "/home/u/src/", "Destination": "/src"},
                           {"Type": "volume", "Source": "/var/lib/docker/volumes/x", "Name": "x"}]},
    {"Id": "b", "Mounts": [{"Type": "bind", "Source": "/home/u/src"}, {"Type": "bind", "Source": "/etc/x.conf"}]},
    {"Id": "c"}, {"Id": "d", "Mounts": null}, "nonsense", {"Mounts": [1, {"Type": "bind", "Source": 7}]}])");
  EXPECT_EQ(bound_paths(containers.as_array()), (std::vector<std::string>{"/etc/x.conf", "/home/u/src"}));
}

TEST(GuestPaths, AreOneForEachShareThatHoldsThePath) {
  const std::vector<SharedTree> shares{{"/home/u", "/home/u"}, {"/home/u/src/", "/src"}, {"/data", "/"}};
  EXPECT_EQ(guest_paths("/home/u/src/a b", shares), (std::vector<std::string>{"/home/u/src/a b", "/src/a b"}));
  EXPECT_EQ(guest_paths("/home/u/src", shares), (std::vector<std::string>{"/home/u/src", "/src"}));
  EXPECT_EQ(guest_paths("/home/user", shares), std::vector<std::string>{});
  EXPECT_EQ(guest_paths("/data/x", shares), std::vector<std::string>{"/x"});
  EXPECT_EQ(guest_paths("/data", shares), std::vector<std::string>{"/"});
  EXPECT_EQ(guest_paths("/any", {{"/", "/host"}}), std::vector<std::string>{"/host/any"});
}

TEST(HostPath, IsThatOfTheInnermostShareWithLinksResolved) {
  TempDir directory;
  const fs::path root = fs::canonical(directory.path());
  fs::create_directories(root / "home" / "inner");
  fs::create_directories(root / "other" / "deep");
  fs::create_directory_symlink(root / "other" / "deep", root / "home" / "link");
  const std::vector<SharedTree> shares{{root / "home", "/g"}, {root / "other", "/g/over"}};
  EXPECT_EQ(host_path("/g/inner", shares), root / "home" / "inner");
  EXPECT_EQ(host_path("/g/over/deep", shares), root / "other" / "deep");
  EXPECT_EQ(host_path("/g/link", shares), root / "other" / "deep");
  EXPECT_EQ(host_path("/g", shares), root / "home");
  EXPECT_EQ(host_path("/g/missing", shares), std::nullopt);
  EXPECT_EQ(host_path("/gg", shares), std::nullopt);
}

TEST(Outermost, LeavesOutWhatOthersContain) {
  EXPECT_EQ(outermost({"/b", "/a/c", "/a", "/a b", "/a/c/d", "/b"}), (std::vector<fs::path>{"/a", "/a b", "/b"}));
  EXPECT_EQ(outermost({"/x", "/"}), std::vector<fs::path>{"/"});
}

}  // namespace
}  // namespace cl::test
