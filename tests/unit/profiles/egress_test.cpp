#include "profiles/egress.hpp"

#include <gtest/gtest.h>

#include "profiles/keys.hpp"

namespace cl::test {
namespace {

TEST(Egress, ItemsAreTakenApart) {
  EgressRule rule;
  EXPECT_EQ(parse_egress_rule("Registry.Example:443", rule), std::nullopt);
  EXPECT_EQ(rule, (EgressRule{"registry.example", false, false, 443}));
  EXPECT_EQ(parse_egress_rule("*.debian.org:*", rule), std::nullopt);
  EXPECT_EQ(rule, (EgressRule{"debian.org", true, false, 0}));
  EXPECT_EQ(parse_egress_rule("192.168.1.5:5432", rule), std::nullopt);
  EXPECT_EQ(rule, (EgressRule{"192.168.1.5", false, true, 5432}));
  for (const char* wrong : {"",
                            "example",
                            "example:",
                            ":443",
                            "example:0",
                            "example:65536",
                            "example:https",
                            "*:443",
                            "*.:443",
                            "a..b:1",
                            "a.*.b:1",
                            "-a.b:1",
                            "127.0.0.1:22",
                            "169.254.169.254:80",
                            "localhost:22",
                            "x.localhost:22",
                            "host.docker.internal:80",
                            "0x7f000001:80",
                            "a b:1",
                            "1.2.3:4",
                            "1.2.3.4.5:6",
                            "[::1]:80",
                            "::1:80",
                            "http://a.example:80",
                            "none"})
    EXPECT_NE(parse_egress_rule(wrong, rule), std::nullopt) << wrong;
}

TEST(Egress, TheTwoSettingsTogetherSayWhatIsReached) {
  Profile profile;
  EXPECT_EQ(egress_of(profile).mode, Egress::Mode::open);
  profile.host_access = {"5000", "6000"};
  EXPECT_EQ(egress_of(profile).mode, Egress::Mode::filtered);
  EXPECT_TRUE(egress_of(profile).any_public);
  EXPECT_EQ(egress_of(profile).host_ports, (std::set<std::uint16_t>{5000, 6000}));
  EXPECT_FALSE(egress_of(profile).host_all);
  profile.egress = {"a.example:443"};
  EXPECT_FALSE(egress_of(profile).any_public);
  profile.egress = {"none"};
  EXPECT_EQ(egress_of(profile).mode, Egress::Mode::closed);
}

TEST(Egress, TheSettingsAreChecked) {
  Profile profile;
  const Key &egress = *find_key("network.egress"), &access = *find_key("network.host_access");
  EXPECT_EQ(access.get(profile), R"(["all"])");
  EXPECT_EQ(egress.set(profile, "a.example:443,*.b.example:80"), std::nullopt);
  EXPECT_EQ(egress.get(profile), R"(["a.example:443","*.b.example:80"])");
  EXPECT_EQ(egress.set(profile, "none,a.example:443"), "'none' must be alone");
  EXPECT_EQ(egress.set(profile, "a.example"), "must say the port, too, such as 'a.example:443', or ':*' for each");
  EXPECT_EQ(egress.set(profile, "https://a.example"),
            "must be NAME:PORT, *.NAME:PORT or ADDRESS:PORT, or none alone, not 'https://a.example'");
  EXPECT_EQ(access.set(profile, "80,443"), std::nullopt);
  EXPECT_EQ(access.set(profile, "80,all"), "'all' must be alone");
  EXPECT_EQ(access.set(profile, "http"), "must be all, none or ports of this computer, not 'http'");
  EXPECT_EQ(access.set(profile, ""), std::nullopt);
  EXPECT_EQ(access.get(profile), R"(["none"])");
}

TEST(Egress, WhatMacOSAndOtherSettingsCannotDoTogetherIsSaid) {
  Profile profile;
  profile.egress = {"a.example:443"};
  profile.dns = {"9.9.9.9"};
  HostFacts host;
  host.cpus = 8;
  host.memory = ByteSize::gib(16);
  host.os = "linux";
  host.arch = "x86_64";
  auto said = [&] {
    std::string text;
    for (const Problem& problem : check(profile, host)) text += problem.where + ": " + problem.message + "\n";
    return text;
  };
  EXPECT_EQ(said(), "network.dns: with network.egress this computer looks names up for the machine\n");
  profile.dns.clear();
  EXPECT_EQ(said(), "");
  profile.docker_subnet = "100.64.0.0/16";
  EXPECT_EQ(said(),
            "network.docker_subnet: with network.egress it must be in 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16\n");
}

}  // namespace
}  // namespace cl::test
