#include "profiles/remote_host.hpp"

#include <gtest/gtest.h>

#include <fstream>

#include "profiles/keys.hpp"
#include "profiles/store.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl {
namespace {

TEST(RemoteHost, IsANameOfSshOrAnUrl) {
  for (const char* good :
       {"build1", "me@build1", "ssh://me@build1:2222", "ssh://build1.example.org", "10.0.0.7", "ssh://me@[fd00::1]:22"})
    EXPECT_EQ(wrong_remote_host(good), std::nullopt) << good;
  for (const char* bad : {"", "-oProxyCommand=x", "ssh://-oProxyCommand=x", "me@-x", "a b", "a;b", "$(a)", "tcp://a/b"})
    EXPECT_NE(wrong_remote_host(bad), std::nullopt) << bad;
}

struct Loaded {
  test::TempDir directory;
  ProfilePaths paths;
  explicit Loaded(const std::string& yaml) {
    Home home;
    home.profiles = directory / "home";
    home.cache = directory / "cache";
    paths = profile_paths(home, "big");
    create_profile(paths);
    std::ofstream(paths.config) << yaml;
  }
  std::string failure(const Settings& flags = {}) {
    try {
      load_layers(paths, {}, flags);
    } catch (const Error& error) {
      return one_line(error);
    }
    return "";
  }
};

TEST(RemoteHost, AProfileThatNamesOneHasNoMachineAndIsCloserThanOne) {
  Loaded loaded("hosts: [build1]\n");
  const Profile profile = load_layers(loaded.paths, {}, {}).profile;
  EXPECT_EQ(resolved_driver(profile, host_facts()), "host");
  EXPECT_EQ(remote_host(profile), "build1");
  EXPECT_EQ(profile.network_address, "127.0.0.1");
  EXPECT_TRUE(profile.shares.empty());
  EXPECT_EQ(profile.idle.count(), 0);
  EXPECT_FALSE(profile.host_sockets);
}

TEST(RemoteHost, ItsPortsAreForTheNetworkWhenThatIsAskedFor) {
  Loaded loaded("hosts: [build1]\nnetwork:\n  address: 0.0.0.0\n");
  EXPECT_EQ(load_layers(loaded.paths, {}, {}).profile.network_address, "0.0.0.0");
}

TEST(RemoteHost, WhatOnlyAMachineHasIsRefusedWithTheWayThatWorks) {
  Loaded loaded("hosts: [build1]\ncpus: 1\nshares: [~/src]\n");
  const std::string why = loaded.failure({{"arch", "aarch64"}, {"memory", "1GiB"}});
  for (const char* part : {"cpus: a host is as large as it is", "memory: ", "arch: a host is of the architecture",
                           "shares: folders of this computer do not get to a host; 'colima-like cp' copies"})
    EXPECT_NE(why.find(part), std::string::npos) << part << "\n" << why;
}

TEST(RemoteHost, ThereIsOneToday) {
  EXPECT_NE(Loaded("hosts: [a, b]\n").failure().find("one host makes an engine"), std::string::npos);
  EXPECT_NE(Loaded("vm:\n  driver: host\n").failure().find("vm.driver host needs one"), std::string::npos);
  EXPECT_NE(Loaded("vm:\n  driver: qemu\nhosts: [a]\n").failure().find("use vm.driver host, or auto"),
            std::string::npos);
}

}  // namespace
}  // namespace cl
