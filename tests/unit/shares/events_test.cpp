#include "src/shares/events.hpp"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <fstream>

#include "tests/support/hung_mount.hpp"
#include "tests/support/run.hpp"
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

TEST(GuestPaths, AreNoneForWhatIsHidden) {
  const std::vector<SharedTree> shares{{"/home/u", "/home/u", {"/home/u/.ssh"}}, {"/home/u/.ssh", "/keys"}};
  EXPECT_EQ(guest_paths("/home/u/.ssh/id", shares), std::vector<std::string>{"/keys/id"});
  EXPECT_EQ(guest_paths("/home/u/.sshd", shares), std::vector<std::string>{"/home/u/.sshd"});
}

TEST(HostPath, IsThatOfTheInnermostShareWithLinksResolved) {
  TempDir directory;
  const fs::path root = fs::canonical(directory.path());
  fs::create_directories(root / "home" / "inner");
  fs::create_directories(root / "other" / "deep");
  fs::create_directory_symlink(root / "other" / "deep", root / "home" / "link");
  const std::vector<SharedTree> shares{{root / "home", "/g"}, {root / "other", "/g/over"}};
  EXPECT_EQ(run(host_path("/g/inner", shares)), root / "home" / "inner");
  EXPECT_EQ(run(host_path("/g/over/deep", shares)), root / "other" / "deep");
  EXPECT_EQ(run(host_path("/g/link", shares)), root / "other" / "deep");
  EXPECT_EQ(run(host_path("/g", shares)), root / "home");
  EXPECT_EQ(run(host_path("/g/missing", shares)), std::nullopt);
  EXPECT_EQ(run(host_path("/gg", shares)), std::nullopt);
}

/// Who has nothing to tell; the tests below are about what is watched.
asio::awaitable<std::shared_ptr<Guest>> no_guest() { throw Error(Errc::guest_failed, "asleep"); }

asio::awaitable<std::string> one_share_hangs(fs::path dead, fs::path alive) {
  const auto executor = co_await asio::this_coro::executor;
  Notifier changed(executor);
  ShareEvents::Config config;
  config.guest = no_guest;
  config.on_change = [&changed] { changed.notify_all(); };
  ShareEvents events(executor, std::move(config));
  const auto containers = boost::json::parse(R"([{"Mounts": [{"Type": "bind", "Source": "/alive"},
                                                             {"Type": "bind", "Source": "/dead/x"}]}])");
  events.set_shares({{dead, "/dead"}, {alive, "/alive"}});
  events.set_containers(containers.as_array());
  int turns = 0;  // others have theirs meanwhile
  while (events.report().folders == 0) {
    co_await sleep_for(10ms);
    ++turns;
  }
  const std::string problem = events.report().problem;
  co_await events.stop();
  co_return turns > 50 ? problem : "the loop stood still";
}

TEST(ShareEvents, AFolderThatHangsHoldsUpNothingElse) {
  const HungMount mount;
  if (!mount.there()) GTEST_SKIP() << "needs /dev/fuse and the right to mount";
  const TempDir directory;
  EXPECT_EQ(run(one_share_hangs(mount.path(), directory.path()), 30s),
            mount.path().string() + "/x on this computer does not answer: looking at it took more than 5000 ms");
}

TEST(Outermost, LeavesOutWhatOthersContain) {
  EXPECT_EQ(outermost({"/b", "/a/c", "/a", "/a b", "/a/c/d", "/b"}), (std::vector<fs::path>{"/a", "/a b", "/b"}));
  EXPECT_EQ(outermost({"/x", "/"}), std::vector<fs::path>{"/"});
}

}  // namespace
}  // namespace cl::test
