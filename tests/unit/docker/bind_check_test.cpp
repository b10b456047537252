#include "docker/bind_check.hpp"

#include <gtest/gtest.h>

#include "src/base/error.hpp"

namespace cl {
namespace {

const BindRules rules{{"/home/u/work", "/data/"}, "/home/u/.colima-like/default/docker.sock"};

std::string checked(const std::string& host_config) {
  try {
    check_binds(R"({"Image":"x","HostConfig":)" + host_config + "}", rules);
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
      "/home/u/other is not shared with the machine: the container would find an empty folder there | share it: add "
      "'/home/u/other', or a folder above it, to 'shares' of the profile; or use a volume; "
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
  EXPECT_NO_THROW(check_binds("{", rules));
  EXPECT_NO_THROW(check_binds("", rules));
}

}  // namespace
}  // namespace cl
