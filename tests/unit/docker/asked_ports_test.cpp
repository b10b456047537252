#include "docker/asked_ports.hpp"

#include <gtest/gtest.h>

#include <string>

#include "src/base/error.hpp"

namespace cl {
namespace {

/// As docker's client writes `-p FIRST-LAST:FIRST-LAST/PROTOCOL`.
std::string range(int first, int last, const std::string& protocol) {
  std::string bindings;
  for (int port = first; port <= last; ++port)
    bindings += (bindings.empty() ? "\"" : ",\"") + std::to_string(port) + "/" + protocol +
                R"(":[{"HostIp":"","HostPort":")" + std::to_string(port) + "\"}]";
  return R"({"Image":"box","HostConfig":{"PortBindings":{)" + bindings + "}}}";
}

std::string refusal(const std::string& body) {
  try {
    check_asked_ports(body, 1000);
  } catch (const Error& error) {
    return error.what() + std::string("; ") + error.remedy();
  }
  return "";
}

TEST(AskedPorts, AreCountedOnceForEachNumberAndProtocol) {
  EXPECT_EQ(asked_ports(range(40000, 56383, "udp")), 16384U);
  EXPECT_EQ(asked_ports(R"({"HostConfig":{"PortBindings":{
      "80/tcp":[{"HostIp":"127.0.0.1","HostPort":"80"},{"HostIp":"::1","HostPort":"80"}],
      "80/udp":[{"HostIp":"","HostPort":"80"}], "81/tcp":[{"HostPort":""},{}], "82/tcp":null}}})"),
            4U);
  EXPECT_EQ(asked_ports(R"({"EndpointSpec":{"Ports":[{"PublishedPort":80},{"PublishedPort":81}]}})"), 2U);
}

TEST(AskedPorts, OfWhatIsNotUnderstoodAreNone) {
  for (const char* body :
       {"", "[]", "{", R"({"HostConfig":null})", R"({"HostConfig":{"PortBindings":[1]}})", R"({"Driver":"local"})"})
    EXPECT_EQ(asked_ports(body), 0U) << body;
}

TEST(AskedPorts, MoreThanMayBeOpenAreRefusedWithTheSettingThatAllowsThem) {
  EXPECT_EQ(refusal(range(1, 1000, "tcp")), "");
  EXPECT_EQ(
      refusal(range(40000, 56383, "udp")),
      "16384 ports are to be published, and no more than 1000 are opened; publish fewer; or 'colima-like config set "
      "network.port_limit 16384' and 'colima-like apply' allow it");
}

}  // namespace
}  // namespace cl
