#include "src/base/net/subnet.hpp"

#include <gtest/gtest.h>

#include <bit>

#include "src/base/net/host_networks.hpp"

namespace cl {
namespace {

Subnet subnet(std::string_view text) { return Subnet::parse(text).value(); }

TEST(Subnet, IsReadAndWritten) {
  for (const char* text : {"10.0.2.0/24", "0.0.0.0/0", "255.255.255.255/32", "172.16.0.0/12"})
    EXPECT_EQ(subnet(text).str(), text);
  for (const char* text : {"", "10.0.2.0", "10.0.2.0/", "10.0.2.0/33", "10.0.2.0/-1", "10.0.2.0/24x", "10.0.2/24",
                           "10.0.2.1/24", "::1/64", "a/8"})
    EXPECT_FALSE(Subnet::parse(text)) << text;
  EXPECT_EQ(subnet("192.168.127.0/24").at(2), "192.168.127.2");
}

TEST(Subnet, OverlapsWhatIsInItAndWhatItIsIn) {
  EXPECT_TRUE(subnet("10.0.2.0/24").overlaps(subnet("10.0.0.0/8")));
  EXPECT_TRUE(subnet("10.0.0.0/8").overlaps(subnet("10.0.2.0/24")));
  EXPECT_TRUE(subnet("10.0.2.0/24").overlaps(subnet("0.0.0.0/0")));
  EXPECT_FALSE(subnet("10.0.2.0/24").overlaps(subnet("10.0.3.0/24")));
}

// As the kernel of a little-endian computer prints them.
TEST(HostNetworks, AreThoseOfTheKernelsTable) {
  if (std::endian::native != std::endian::little) GTEST_SKIP() << "the table below is of another byte order";
  const std::string table =
      "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
      "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
      "eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
      "tun0\t0000000A\t00000000\t0001\t0\t0\t50\t000000FF\t0\t0\t0\n"
      "tun1\t0002000A\t00000000\t0201\t0\t0\t50\t00FFFFFF\t0\t0\t0\n"
      "nonsense\n";
  const std::vector<HostNetwork> found = networks_of(table);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0], (HostNetwork{subnet("192.0.2.0/24"), "eth0"}));
  EXPECT_EQ(found[1], (HostNetwork{subnet("10.0.0.0/8"), "tun0"}));
  EXPECT_TRUE(networks_of("").empty());
}

}  // namespace
}  // namespace cl
