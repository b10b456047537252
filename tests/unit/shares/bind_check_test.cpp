#include "src/shares/bind_check.hpp"

#include <gtest/gtest.h>

#include "src/base/error.hpp"
#include "src/base/file.hpp"
#include "tests/support/hung_mount.hpp"
#include "tests/support/run.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl {
namespace {

using namespace std::chrono_literals;
using test::run;

const BindRules rules{
    {{"/home/u/work", "/home/u/work", ""}, {"/srv/data", "/data", ""}, {"/gone", "/gone", "it is away"}},
    "/home/u/.colima-like/default/docker.sock"};

std::string checked(const std::string& host_config) {
  try {
    run(check_binds(R"({"Image":"x","HostConfig":)" + host_config + "}", rules));
  } catch (const Error& error) {
    return one_line(error) + " | " + error.remedy();
  }
  return "fine";
}

std::string dash_v(const std::string& words) { return checked(R"({"Binds":[")" + words + R"("]})"); }
std::string mount(const std::string& type, const std::string& source) {
  return checked(R"({"Mounts":[{"Type":")" + type + R"(","Source":")" + source + R"(","Target":"/x"}]})");
}

TEST(BindCheck, NamesThePathAndTheShareToAdd) {
  const std::string refusal =
      "/home/u/other is not shared with the machine: the container would find an empty folder there | share it: "
      "colima-like share add '/home/u/other', or a folder above it; or use a volume; "
      "'colima-like config set check_binds false' and 'colima-like apply' turn this check off";
  EXPECT_EQ(dash_v("/home/u/other:/x"), refusal);
  EXPECT_EQ(dash_v("/home/u/other:/x:ro"), refusal);
  EXPECT_EQ(mount("bind", "/home/u/other"), refusal);
  EXPECT_EQ(dash_v("/home/u/work/../other:/x"), refusal);
}

TEST(BindCheck, PassesWhatTheGuestSees) {
  for (const char* path :
       {"/home/u/work", "/home/u/work/", "/home/u/work/a/b", "/data", "/data/x", "/", "/var/run/docker.sock", "/proc",
        "/etc/localtime", "/home/u/.colima-like/default/docker.sock"}) {
    EXPECT_EQ(dash_v(std::string(path) + ":/x"), "fine") << path;
    EXPECT_EQ(mount("bind", path), "fine") << path;
  }
}

// As with an engine on this computer: what is here is meant, and an empty folder in its place would be a surprise.
TEST(BindCheck, RefusesAPathOfTheSystemThatThisComputerHas) {
  const test::TempDir dir("/var/tmp");
  for (const std::string& path : {dir.path().string(), std::string("/etc/passwd"), std::string("/usr/bin")})
    EXPECT_NE(dash_v(path + ":/x").find(path + " is not shared with the machine"), std::string::npos) << path;
}

TEST(BindCheck, PassesAPathOfTheSystemThatOnlyTheGuestHas) {
  for (const char* path : {"/var/lib/nobody-has-this", "/run/nobody-has-this.sock", "/etc/nobody-has-this/x"})
    EXPECT_EQ(dash_v(std::string(path) + ":/x"), "fine") << path;
  for (const char* path :
       {"/var/lib/docker/volumes", "/lib/modules", "/dev/null", "/sys/fs/cgroup", "/var/run", "/run"})
    EXPECT_EQ(dash_v(std::string(path) + ":/x"), "fine") << path;
}

std::string checked_call(const std::string& body) {
  try {
    run(check_binds(body, rules));
  } catch (const Error& error) {
    return one_line(error);
  }
  return "fine";
}

TEST(BindCheck, RefusesAVolumeThatIsAFolderWhichTheGuestDoesNotSee) {
  const std::string refusal = "/home/u/other is not shared with the machine: the volume would have nothing behind it";
  for (const char* words : {"bind", "ro,bind", "rbind,ro"}) {
    const std::string options = R"({"type":"none","o":")" + std::string(words) + R"(","device":"/home/u/other"})";
    EXPECT_EQ(checked_call(R"({"Name":"v","DriverOpts":)" + options + "}"), refusal) << words;
    const std::string mount =
        R"({"Type":"volume","Source":"v","Target":"/x","VolumeOptions":{"DriverConfig":{"Options":)" + options + "}}}";
    EXPECT_EQ(checked_call(R"({"HostConfig":{"Mounts":[)" + mount + "]}}"), refusal) << words;
  }
  EXPECT_EQ(checked_call(R"({"DriverOpts":{"type":"none","o":"bind","device":"/home/u/work"}})"), "fine");
  EXPECT_EQ(checked_call(R"({"DriverOpts":{"type":"nfs","o":"addr=1.2.3.4","device":":/home/u/other"}})"), "fine");
  EXPECT_EQ(checked_call(R"({"DriverOpts":{"type":"ext4","device":"/dev/sda5"}})"), "fine");
}

TEST(BindCheck, LooksAtTheMountsOfAService) {
  EXPECT_EQ(checked_call(R"({"TaskTemplate":{"ContainerSpec":{"Mounts":[{"Type":"bind","Source":"/home/u/other"}]}}})"),
            "/home/u/other is not shared with the machine: the container would find an empty folder there");
}

TEST(BindCheck, SaysWhyAShareIsNotThere) {
  EXPECT_NE(dash_v("/gone/x:/x").find("which the machine does not see now: it is away"), std::string::npos);
}

TEST(BindCheck, FollowsLinksAsTheGuestWill) {
  namespace fs = std::filesystem;
  const test::TempDir dir;
  const fs::path root = fs::canonical(dir.path());
  for (const char* folder : {"share/inside", "other", "outside"}) fs::create_directories(root / folder);
  fs::create_directory_symlink("inside", root / "share/near");
  fs::create_directory_symlink(root / "outside", root / "share/far");
  fs::create_directory_symlink(root / "other", root / "share/shared");
  fs::create_directory_symlink("/etc", root / "share/guest");
  const BindRules linked{{{root / "share", "/s", ""}, {root / "other", root / "other", ""}}, ""};
  auto answer = [&linked](const std::string& path) {
    try {
      run(check_binds(R"({"HostConfig":{"Binds":[")" + path + R"(:/x"]}})", linked));
    } catch (const Error& error) {
      return one_line(error);
    }
    return std::string("fine");
  };
  for (const char* path : {"/s/near", "/s/near/below", "/s/shared", "/s/guest/hosts", "/s/not/there"})
    EXPECT_EQ(answer(path), "fine") << path;
  EXPECT_EQ(answer("/s/far/x"), "/s/far/x is a link to " + (root / "outside/x").string() +
                                    ", which is not shared with the machine: the container would find nothing there");
}

TEST(BindCheck, RefusesByNameWhatIsHidden) {
  const test::TempDir dir;
  const fs::path root = fs::canonical(dir.path());
  fs::create_directories(root / "home/.kube");
  fs::create_directories(root / "home/.docker");
  write_atomically(root / "home/.docker/config.json", "{}");
  fs::create_directory_symlink(".kube", root / "home/cluster");
  BindRules hiding;
  hiding.socket = root / "home/.colima-like/default/docker.sock";
  hiding.hide = {"default"};
  hiding.shared = {{root / "home", root / "home", "", {}}, {root / "home", "/h", "", {}}};
  for (SharedFolder& folder : hiding.shared)
    folder.hidden = {root / "home/.kube", root / "home/.docker/config.json", root / "home/.colima-like"};
  const auto said = [&](const fs::path& path) {
    try {
      run(check_binds(R"({"HostConfig":{"Binds":[")" + path.string() + R"(:/x"]}})", hiding));
    } catch (const Error& error) {
      return one_line(error) + " | " + error.remedy();
    }
    return std::string("fine");
  };
  const std::string kube = (root / "home/.kube").string();
  EXPECT_TRUE(said(kube).starts_with(kube + " is hidden from the machine: share_hide")) << said(kube);
  EXPECT_NE(said(kube).find("| colima-like share add '" + kube + ":ro'"), std::string::npos) << said(kube);
  EXPECT_NE(said("/h/.kube/cache").find("/h/.kube/cache is hidden"), std::string::npos);
  EXPECT_NE(said(root / "home/cluster").find("cluster is a link to " + kube + ", which is hidden"), std::string::npos);
  const std::string file = (root / "home/.docker/config.json").string();
  EXPECT_NE(said(file).find("colima-like config set share_hide 'default," + file + ":rw', and 'colima-like restart'"),
            std::string::npos)
      << said(file);
  EXPECT_EQ(said(root / "home"), "fine");
  EXPECT_EQ(said(root / "home/.docker"), "fine");
  EXPECT_EQ(said(hiding.socket), "fine") << "the guest has its own there";
  hiding.shared.push_back({root / "home/.kube", root / "home/.kube", "", {}});
  EXPECT_EQ(said(kube), "fine") << "it is a share itself";
}

TEST(BindCheck, IsNotFooledByNamesThatOnlyBeginAlike) {
  for (const char* path : {"/home/u/workshop", "/home/u", "/database", "/variable", "/home/u/.colima-like"})
    EXPECT_NE(dash_v(std::string(path) + ":/x"), "fine") << path;
}

TEST(BindCheck, LeavesVolumesAndNonsenseToTheEngine) {
  EXPECT_EQ(dash_v("volume:/x"), "fine");
  EXPECT_EQ(dash_v("/anonymous"), "fine");
  EXPECT_EQ(mount("volume", "/home/u/other"), "fine");
  EXPECT_EQ(checked("7"), "fine");
  EXPECT_EQ(checked(R"({"Binds":"/home:/x","Mounts":{}})"), "fine");
  EXPECT_EQ(checked(R"({"Binds":[7,null,":"],"Mounts":[7,{"Type":"bind"},{"Type":"bind","Source":7}]})"), "fine");
  EXPECT_NO_THROW(run(check_binds("{", rules)));
  EXPECT_NO_THROW(run(check_binds("", rules)));
}

asio::awaitable<std::string> refusal_of_hung(std::filesystem::path path) {
  const BindRules hung{{{path, path, ""}}, ""};
  try {
    co_await check_binds(R"({"HostConfig":{"Binds":[")" + path.string() + R"(/src:/src"]}})", hung, 50ms);
  } catch (const Error& error) {
    co_return one_line(error);
  }
  co_return "it is fine";
}

TEST(BindCheck, RefusesByNameWhatHangs) {
  const test::HungMount mount;
  if (!mount.there()) GTEST_SKIP() << "needs /dev/fuse and the right to mount";
  const std::string hangs = mount.path().string() + "/src on this computer does not answer: ";
  EXPECT_EQ(run(refusal_of_hung(mount.path())), hangs + "looking at it took more than 50 ms");
  EXPECT_EQ(run(refusal_of_hung(mount.path())), hangs + "an earlier look at it still hangs");
}

}  // namespace
}  // namespace cl
