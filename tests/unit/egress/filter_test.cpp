#include "src/egress/filter.hpp"

#include <gtest/gtest.h>

#include <set>

namespace cl::test {
namespace {

using boost::asio::ip::make_address;

EgressFilter filter(std::vector<std::string> egress, std::vector<std::string> host_access = {"all"}) {
  Profile profile;
  profile.egress = std::move(egress);
  profile.host_access = std::move(host_access);
  return {egress_of(profile), "10.0.2.2", "salt"};
}

/// "HOST:PORT", or why not.
std::string decided(EgressFilter& by, const std::string& address, std::uint16_t port) {
  const EgressTarget target = by.decide(address, port);
  return target.refusal.empty() ? target.host + ":" + std::to_string(target.port) : target.refusal;
}

TEST(EgressFilter, NamesAreToldAsAddressesThatLeadToThemAlone) {
  EgressFilter some = filter({"registry.example:443", "*.debian.org:80"});
  EXPECT_TRUE(some.may_resolve("registry.example"));
  EXPECT_TRUE(some.may_resolve("deb.debian.org"));
  for (const char* name : {"debian.org", "evildebian.org", "registry.example.evil", "example", "x.registry.example"})
    EXPECT_FALSE(some.may_resolve(name)) << name;
  const std::string address = some.address_for("registry.example").to_string();
  EXPECT_TRUE(address.starts_with("198.18.") || address.starts_with("198.19.")) << address;
  EXPECT_EQ(filter({"*.example:1"}).address_for("registry.example").to_string(), address) << "also by another daemon";
  EXPECT_EQ(some.address_for("registry.example").to_string(), address);
  EXPECT_NE(some.address_for("deb.debian.org").to_string(), address);
  EXPECT_EQ(decided(some, address, 443), "registry.example:443");
  EXPECT_TRUE(some.decide(address, 443).is_name);
  EXPECT_EQ(decided(some, address, 22), "registry.example:22 is not in network.egress");
  EXPECT_EQ(decided(some, "198.18.0.0", 443), "198.18.0.0:443 stands for a name that was asked for too long ago");
}

TEST(EgressFilter, AnAddressKnownFromElsewhereLeadsNowhere) {
  EgressFilter some = filter({"registry.example:443", "192.168.1.5:5432"}, {"none"});
  EXPECT_EQ(decided(some, "93.184.216.34", 443), "93.184.216.34:443 is not in network.egress");
  EXPECT_EQ(decided(some, "169.254.169.254", 80), "169.254.169.254:80 is not in network.egress");
  EXPECT_EQ(decided(some, "192.168.1.5", 5432), "192.168.1.5:5432");
  EXPECT_EQ(decided(some, "192.168.1.5", 22), "192.168.1.5:22 is not in network.egress");
  EXPECT_EQ(decided(some, "::1", 443), "the machine asks for '::1:443', which is no address");
  EXPECT_EQ(decided(some, "registry.example", 443), "the machine asks for 'registry.example:443', which is no address");
}

TEST(EgressFilter, ThisComputerIsReachedAsFarAsHostAccessSays) {
  EgressFilter none = filter({}, {"none"}), some = filter({}, {"5000"}), all = filter({"a.example:1"}, {"all"});
  EXPECT_EQ(decided(none, "10.0.2.2", 5000), "port 5000 of this computer is not in network.host_access");
  EXPECT_EQ(decided(some, "10.0.2.2", 5000), "127.0.0.1:5000");
  EXPECT_EQ(decided(some, "10.0.2.2", 5001), "port 5001 of this computer is not in network.host_access");
  EXPECT_EQ(decided(all, "10.0.2.2", 22), "127.0.0.1:22");
  EXPECT_EQ(decided(none, "93.184.216.34", 443), "93.184.216.34:443") << "without a list the internet is reached";
  for (const char* own : {"127.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "100.100.100.200"})
    EXPECT_EQ(decided(none, own, 80),
              std::string(own) + ":80 is not of the internet, and network.host_access is not all");
}

TEST(EgressFilter, ANameThatLeadsInwardsIsFollowedOnlyWhereItsUserNamedIt) {
  EgressFilter some = filter({"git.corp.example:22", "*.example.org:443"}),
               alone = filter({"git.corp.example:22"}, {"none"});
  auto target = [](EgressFilter& by, const std::string& name, std::uint16_t port) {
    return by.decide(by.address_for(name).to_string(), port);
  };
  const EgressTarget git = target(some, "git.corp.example", 22), other = target(some, "x.example.org", 443);
  EXPECT_TRUE(some.may_reach(git, make_address("10.3.4.5"), false));
  EXPECT_TRUE(some.may_reach(git, make_address("fd00::5"), false));
  EXPECT_TRUE(some.may_reach(other, make_address("93.184.216.34"), false));
  EXPECT_FALSE(some.may_reach(other, make_address("10.3.4.5"), false)) << "DNS rebinding";
  for (const char* never : {"127.0.0.1", "::1", "169.254.169.254", "0.0.0.0", "::ffff:127.0.0.1", "fe80::1"})
    EXPECT_FALSE(some.may_reach(git, make_address(never), false)) << never;
  EXPECT_FALSE(alone.may_reach(target(alone, "git.corp.example", 22), make_address("10.3.4.5"), false));
  const auto public_one = make_address("93.184.216.34");
  EXPECT_FALSE(alone.may_reach(target(alone, "git.corp.example", 22), public_one, true)) << "this computer's own";
  EXPECT_TRUE(some.may_reach(other, public_one, true));
  EgressFilter any = filter({}, {"none"});
  EXPECT_FALSE(any.may_reach(any.decide("93.184.216.34", 443), public_one, true));
  EXPECT_TRUE(any.may_reach(any.decide("93.184.216.34", 443), public_one, false));
  EgressFilter port = filter({}, {"5000"});
  EXPECT_TRUE(port.may_reach(port.decide("10.0.2.2", 5000), make_address("127.0.0.1"), true));
  EgressFilter listed = filter({"192.168.1.5:5432"}, {"none"});
  EXPECT_TRUE(listed.may_reach(listed.decide("192.168.1.5", 5432), make_address("192.168.1.5"), true));
}

TEST(EgressFilter, AConnectionSaysWhereItGoes) {
  EgressFilter some = filter({"a.example:443", "*.b.example:443", "c.example:80"});
  const EgressTarget target = some.decide(some.address_for("a.example").to_string(), 443);
  EXPECT_TRUE(target.check_first_bytes);
  auto refusal = [&](const std::string& name, std::uint16_t port = 0) {
    return some.first_bytes_refusal(target, {FirstBytes::Kind::http, name, port});
  };
  EXPECT_EQ(refusal("a.example"), "");
  EXPECT_EQ(refusal("x.b.example"), "") << "on the same server, and allowed";
  EXPECT_EQ(refusal("c.example"),
            "a connection to a.example:443 goes to c.example:443, which is not in network.egress");
  EXPECT_EQ(refusal(""), "a connection to a.example:443 does not say by itself where it goes");
  EXPECT_EQ(refusal("c.example", 80), "") << "by a proxy";
  EXPECT_EQ(refusal("c.example", 22),
            "a connection to a.example:443 goes to c.example:22, which is not in network.egress");
  EgressFilter any = filter({}, {"none"});
  EXPECT_FALSE(any.decide(any.address_for("a.example").to_string(), 443).check_first_bytes);
}

TEST(EgressFilter, ForgetsTheNameAskedForLongestAgo) {
  EgressFilter any = filter({}, {"none"});
  const std::string first = any.address_for("first.example").to_string();
  const std::string second = any.address_for("second.example").to_string();
  for (std::size_t i = 2; i < EgressFilter::most_names; ++i) any.address_for("n" + std::to_string(i));
  EXPECT_EQ(any.address_for("first.example").to_string(), first);
  any.address_for("one more");
  EXPECT_EQ(decided(any, first, 1), "first.example:1");
  EXPECT_EQ(decided(any, second, 1), second + ":1 stands for a name that was asked for too long ago");
}

TEST(EgressFilter, NoTwoNamesHaveOneAddress) {
  EgressFilter any = filter({}, {"none"});
  std::set<std::uint32_t> used;
  for (std::size_t i = 0; i < EgressFilter::most_names; ++i) used.insert(any.address_for(std::to_string(i)).to_uint());
  EXPECT_EQ(used.size(), EgressFilter::most_names);
  EXPECT_GT(*used.begin(), make_address("198.18.0.0").to_v4().to_uint());
  EXPECT_LT(*used.rbegin(), make_address("198.19.255.255").to_v4().to_uint());
}

TEST(EgressFilter, KnowsWhatIsOfTheInternet) {
  for (const char* yes : {"93.184.216.34", "1.1.1.1", "2606:4700::1111", "64:ff9b::101:101", "172.32.0.1", "11.0.0.1"})
    EXPECT_TRUE(is_public(make_address(yes))) << yes;
  for (const char* no :
       {"0.0.0.0",     "10.1.2.3",    "100.64.0.1",      "127.0.0.1",        "169.254.169.254", "172.31.0.1",
        "192.0.0.192", "192.168.0.1", "198.18.0.1",      "203.0.113.5",      "224.0.0.1",       "255.255.255.255",
        "::",          "::1",         "::ffff:10.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::",
        "2001:db8::1", "2001::1",     "fc00::1",         "fd00:ec2::254",    "fe80::1",         "ff02::1",
        "::127.0.0.1"})
    EXPECT_FALSE(is_public(make_address(no))) << no;
}

}  // namespace
}  // namespace cl::test
