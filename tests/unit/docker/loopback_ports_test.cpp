#include "docker/loopback_ports.hpp"

#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "src/base/error.hpp"

namespace cl {
namespace {

namespace json = boost::json;
constexpr std::string_view create = "/containers/create";

std::string address_of(const std::string& body, std::string_view port) {
  const auto call = json::parse(body);
  return std::string(call.at("HostConfig").at("PortBindings").at(port).at(0).at("HostIp").as_string());
}

TEST(LoopbackPorts, EachPortIsBoundThereAndTheRestIsAsItWas) {
  const auto body = with_ports_on_loopback(
      create,
      R"({"Image":"box","HostConfig":{"Binds":["/a:/b"],"PortBindings":{"80/tcp":[{"HostIp":"","HostPort":"8080"}],)"
      R"("81/tcp":[{"HostPort":"8081"}],"82/tcp":[{"HostIp":"0.0.0.0","HostPort":""}],"83/udp":[{"HostIp":"::"}],"84/tcp":[]}}})");
  ASSERT_TRUE(body);
  for (const char* port : {"80/tcp", "81/tcp", "82/tcp", "83/udp", "84/tcp"})
    EXPECT_EQ(address_of(*body, port), "127.0.0.1") << port;
  const auto call = json::parse(*body);
  EXPECT_EQ(call.at("Image").as_string(), "box");
  EXPECT_EQ(call.at("HostConfig").at("Binds").at(0).as_string(), "/a:/b");
  EXPECT_EQ(call.at("HostConfig").at("PortBindings").at("80/tcp").at(0).at("HostPort").as_string(), "8080");
}

TEST(LoopbackPorts, WhatIsThereAlreadyIsNotTouched) {
  for (const char* body :
       {R"({"Image":"box"})", R"({"HostConfig":{"PortBindings":{"80/tcp":[{"HostIp":"127.0.0.1"}]}}})",
        R"({"HostConfig":{"PortBindings":{"80/tcp":[{"HostIp":"::1"}]}}})", "{broken", "[]"})
    EXPECT_EQ(with_ports_on_loopback(create, body), std::nullopt) << body;
  EXPECT_EQ(with_ports_on_loopback("/volumes/create", R"({"HostConfig":{"PortBindings":{"80/tcp":[{"HostIp":""}]}}})"),
            std::nullopt);
}

TEST(LoopbackPorts, WhatNoAddressCanBeGivenToIsRefused) {
  EXPECT_THROW(with_ports_on_loopback(create, R"({"HostConfig":{"PublishAllPorts":true}})"), Error);
  EXPECT_THROW(with_ports_on_loopback("/services/create", R"({"EndpointSpec":{"Ports":[{"TargetPort":80}]}})"), Error);
  EXPECT_NO_THROW(with_ports_on_loopback("/services/create", R"({"EndpointSpec":{"Ports":[]}})"));
}

TEST(LoopbackPorts, TheHeadTellsTheNewLength) {
  EXPECT_EQ(head_for_body("POST /v1.41/containers/create HTTP/1.1\r\nHost: a\r\nCONTENT-length: 3\r\n"
                          "Transfer-Encoding: chunked\r\nX: y\r\n\r\n",
                          12),
            "POST /v1.41/containers/create HTTP/1.1\r\nHost: a\r\nX: y\r\nContent-Length: 12\r\n\r\n");
}

}  // namespace
}  // namespace cl
