#include "profiles/networks.hpp"

#include <gtest/gtest.h>

#include "profiles/keys.hpp"

namespace cl {
namespace {

const HostFacts host{4, ByteSize::gib(8), "linux", "x86_64"};

HostNetwork network(std::string_view subnet, std::string interface) {
  return {Subnet::parse(subnet).value(), interface};
}

std::string clashes(const Profile& profile, const std::vector<HostNetwork>& networks, const HostFacts& on = host) {
  std::string all;
  for (const NetworkClash& one : network_clashes("default", profile, on, networks))
    all += one.text + "; " + one.remedy + "\n";
  return all;
}

TEST(Networks, OfThisComputerThatAreHiddenAreTold) {
  EXPECT_EQ(clashes({}, {network("192.168.1.0/24", "eth0"), network("10.0.3.0/24", "tun0")}), "");
  EXPECT_EQ(clashes({}, {network("10.0.0.0/8", "tun0")}),
            "this computer reaches 10.0.0.0/8 by tun0, and the machine's own network is 10.0.2.0/24: what is in both "
            "cannot be reached from containers; 'colima-like config set network.guest_subnet 192.168.127.0/24' and "
            "'colima-like restart' move it\n");
  EXPECT_EQ(
      clashes({}, {network("172.16.0.0/12", "utun3"), network("10.201.0.0/16", "eth1")}),
      "this computer reaches 172.16.0.0/12 by utun3, and that of its containers is 172.17.0.0/16: what is in both "
      "cannot be reached from containers; 'colima-like config set network.docker_subnet 192.168.208.0/20' and "
      "'colima-like restart' move it\n");
}

TEST(Networks, OfEnginesAndHalvesOfEverythingAreNone) {
  EXPECT_EQ(clashes({}, {network("172.17.0.0/16", "docker0"), network("172.17.0.0/16", "br-12ab")}), "");
  EXPECT_EQ(clashes({}, {network("0.0.0.0/1", "tun0"), network("128.0.0.0/1", "tun0")}), "");
}

TEST(Networks, ThatWereMovedAreLookedAtWhereTheyAre) {
  Profile profile;
  profile.guest_subnet = "192.168.127.0/24";
  profile.docker_subnet = "10.201.0.0/16";
  EXPECT_EQ(clashes(profile, {network("10.0.2.0/24", "tun0"), network("172.17.0.0/16", "tun0")}), "");
  EXPECT_NE(clashes(profile, {network("10.201.4.0/24", "tun0")}), "");
  profile.runtime = "none";
  EXPECT_EQ(clashes(profile, {network("10.201.4.0/24", "tun0")}), "") << "it has no containers";
}

TEST(Networks, OfAppleAreNotOurs) {
  const HostFacts mac{4, ByteSize::gib(8), "macos", "aarch64", "15.0"};
  EXPECT_EQ(clashes({}, {network("10.0.2.0/24", "utun0")}, mac), "");
}

TEST(Networks, AreSetAsNetworks) {
  Profile profile;
  for (const char* text : {"192.168.127.0/24", "10.0.0.0/8", "10.1.2.32/27"})
    EXPECT_EQ(find_key("network.guest_subnet")->set(profile, text), std::nullopt) << text;
  EXPECT_EQ(find_key("network.guest_subnet")->set(profile, "10.0.2.1/24"),
            "must be a network such as 192.168.127.0/24, of /8 to /27, not '10.0.2.1/24'");
  EXPECT_EQ(profile.guest_subnet, "10.1.2.32/27");
  for (const char* text : {"", "10.201.0.0/16", "10.1.2.0/24"})
    EXPECT_EQ(find_key("network.docker_subnet")->set(profile, text), std::nullopt) << text;
  for (const char* text : {"10.1.2.0/25", "10.201.0.0", "10.201.0.0/7", "fd00::/64"})
    EXPECT_NE(find_key("network.docker_subnet")->set(profile, text), std::nullopt) << text;
}

TEST(Networks, OfOneMachineAreApart) {
  Profile profile;
  profile.guest_subnet = "172.17.5.0/24";
  const auto found = check(profile, host);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].where + ": " + found[0].message,
            "network.docker_subnet: it must not overlap network.guest_subnet, which is 172.17.5.0/24");
  const HostFacts mac{4, ByteSize::gib(8), "macos", "aarch64", "15.0"};
  profile.guest_subnet = "192.168.127.0/24";
  ASSERT_EQ(check(profile, mac).size(), 1u);
  EXPECT_EQ(check(profile, mac)[0].where, "network.guest_subnet");
}

TEST(Networks, OfContainersAreCutIntoSixteenOrMore) {
  EXPECT_EQ(first_docker_network(Subnet::parse("10.201.0.0/16").value()).str(), "10.201.0.0/24");
  EXPECT_EQ(first_docker_network(Subnet::parse("192.168.208.0/20").value()).str(), "192.168.208.0/24");
  EXPECT_EQ(first_docker_network(Subnet::parse("10.1.2.0/24").value()).str(), "10.1.2.0/28");
}

TEST(Networks, PutThisComputerAtTheSecondAddress) {
  Profile profile;
  EXPECT_EQ(host_in_guest("10.0.2.2", profile), "10.0.2.2");
  profile.guest_subnet = "192.168.127.0/24";
  EXPECT_EQ(host_in_guest("10.0.2.2", profile), "192.168.127.2");
  EXPECT_EQ(host_in_guest("", profile), "") << "the driver makes no network";
}

}  // namespace
}  // namespace cl
