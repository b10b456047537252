#include "src/cli/sandbox.hpp"

#include "src/base/file.hpp"
#include "tests/unit/cli/command_line.hpp"

namespace cl::cli {
namespace {

class Sandbox : public CommandLine {
 protected:
  Sandbox() : before_(fs::current_path()) {
    call_.home = Home{home_.path() / "profiles", home_.path()};
    ::setenv("COLIMA_LIKE_HOME", call_.home.profiles.c_str(), 1);
    call_.profile = "agent";
    fs::create_directory(folder_);
    fs::current_path(folder_);
  }
  ~Sandbox() override { fs::current_path(before_); }
  Profile made() { return load_profile(profile_paths(call_.home, "agent"), {}); }
  std::string refusal() {
    try {
      make_sandbox(call_);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }

  const fs::path before_;
  const fs::path folder_ = fs::canonical(home_.path()) / "project, v1";
  Invocation call_;
};

TEST_F(Sandbox, KeepsItsSettingsInItsFile) {
  make_sandbox(call_);
  const Profile profile = made();
  EXPECT_EQ(profile.shares, std::vector<std::string>{folder_.string()});
  EXPECT_EQ(profile.egress, std::vector<std::string>{"none"});
  EXPECT_EQ(profile.host_access, std::vector<std::string>{"none"});
  EXPECT_EQ(profile.network_address, "127.0.0.1");
  EXPECT_FALSE(profile.ssh_agent);
  EXPECT_EQ(refusal(), "") << "the second time it is one already";
}

TEST_F(Sandbox, KeepsWhatItsFirstStartSaysToo) {
  call_.settings = {{"network.egress", "a.example:443"}, {"cpus", "1"}};
  make_sandbox(call_);
  EXPECT_EQ(made().egress, std::vector<std::string>{"a.example:443"});
  EXPECT_EQ(made().cpus, 1);
  EXPECT_EQ(refusal(), "") << "the same once more";
  call_.settings.clear();
  EXPECT_EQ(refusal(), "") << "whom it may reach is its own";
}

TEST_F(Sandbox, AnotherProfileIsNotTakenForOne) {
  ASSERT_EQ(say({"config", "set", "-p", "agent", "cpus", "1"}).code, 0);
  const std::string said = refusal();
  for (const char* part : {"profile 'agent' is there already, and is no sandbox of this folder: ",
                           "network.egress is not set", "network.host_access is [\"all\"]", "shares is "})
    EXPECT_NE(said.find(part), std::string::npos) << said;
  EXPECT_TRUE(made().egress.empty());
}

TEST_F(Sandbox, OfAnotherFolderIsAnother) {
  make_sandbox(call_);
  fs::create_directory(folder_ / "inner");
  fs::current_path(folder_ / "inner");
  EXPECT_NE(refusal().find("no sandbox of this folder: shares is"), std::string::npos);
}

TEST_F(Sandbox, TheWholeHomeIsNoFolderForIt) {
  const char* const home = std::getenv("HOME");
  const std::string was = home == nullptr ? "" : home;
  ::setenv("HOME", (folder_ / "user").c_str(), 1);
  fs::create_directory(folder_ / "user");
  EXPECT_NE(refusal().find("holds your home"), std::string::npos);
  fs::current_path(folder_ / "user");
  EXPECT_NE(refusal().find("holds your home"), std::string::npos);
  EXPECT_FALSE(fs::exists(call_.home.profiles / "agent"));
  ::setenv("HOME", was.c_str(), 1);
}

TEST_F(Sandbox, TheProfilesThemselvesAreNoFolderForIt) {
  for (const fs::path& folder : {home_.path(), call_.home.profiles, call_.home.profiles / "agent" / "run"}) {
    fs::create_directories(folder);
    fs::current_path(folder);
    EXPECT_NE(refusal().find("are the profiles themselves"), std::string::npos);
  }
}

TEST_F(Sandbox, TheEnvironmentDoesNotOpenIt) {
  ::setenv("COLIMA_LIKE_NETWORK_HOST_ACCESS", "all", 1);
  EXPECT_NE(refusal().find("network.host_access is [\"all\"]"), std::string::npos);
  ::unsetenv("COLIMA_LIKE_NETWORK_HOST_ACCESS");
  EXPECT_FALSE(fs::exists(call_.home.profiles / "agent"));
}

TEST_F(Sandbox, AWrongSettingLeavesNothing) {
  call_.settings = {{"network.egress", "everybody"}};
  EXPECT_NE(refusal(), "");
  EXPECT_FALSE(fs::exists(call_.home.profiles / "agent"));
}

}  // namespace
}  // namespace cl::cli
