#include "docker/ports.hpp"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <set>

namespace cl {
namespace {

std::string wanted(std::string_view list, PortRules rules = {}) {
  std::string all;
  for (const auto& [at, port] : wanted_ports(boost::json::parse(list).as_array(), rules)) {
    all += at.str() + " " + port.container->name + " ->";
    for (const auto& [host, number] : port.targets()) all += " " + host + " " + std::to_string(number);
    all += "\n";
  }
  return all;
}

constexpr const char* web = R"([{"Id":"1234","Names":["/front/web","/web"],"Ports":[
  {"IP":"0.0.0.0","PrivatePort":80,"PublicPort":8080,"Type":"tcp"},
  {"IP":"::","PrivatePort":80,"PublicPort":8080,"Type":"tcp"},
  {"IP":"127.0.0.1","PrivatePort":53,"PublicPort":5353,"Type":"udp"},
  {"PrivatePort":443,"Type":"tcp"}],
  "NetworkSettings":{"Networks":{
    "back":{"IPAddress":"172.18.0.3","GlobalIPv6Address":"fd00::3","EndpointID":"e1"},
    "none":{"IPAddress":"","GlobalIPv6Address":"","EndpointID":""}}}}])";

TEST(WantedPorts, AreThePublishedOnesWithTheContainersOwnAddresses) {
  EXPECT_EQ(wanted(web),
            "0.0.0.0:8080/tcp web -> 172.18.0.3 80 fd00::3 80\n"
            "[::]:8080/tcp web -> 172.18.0.3 80 fd00::3 80\n"
            "127.0.0.1:5353/udp web -> 172.18.0.3 53 fd00::3 53\n");
}

TEST(WantedPorts, StayOnLoopbackWhenAskedTo) {
  EXPECT_EQ(wanted(web, PortRules{asio::ip::make_address("127.0.0.1")}),
            "127.0.0.1:8080/tcp web -> 172.18.0.3 80 fd00::3 80\n"
            "[::1]:8080/tcp web -> 172.18.0.3 80 fd00::3 80\n"
            "127.0.0.1:5353/udp web -> 172.18.0.3 53 fd00::3 53\n");
  const char* one =
      R"([{"Id":"1","Names":["/a"],"Ports":[{"IP":"192.0.2.1","PrivatePort":1,"PublicPort":2,"Type":"tcp"}]}])";
  EXPECT_EQ(wanted(one, PortRules{asio::ip::make_address("127.0.0.1")}), "192.0.2.1:2/tcp a -> 192.0.2.1 2\n")
      << "a given address is the user's word";
}

TEST(WantedPorts, TakeAnotherDefaultAddressForItsFamilyOnly) {
  EXPECT_EQ(wanted(web, PortRules{asio::ip::make_address("192.0.2.7")}),
            "192.0.2.7:8080/tcp web -> 172.18.0.3 80 fd00::3 80\n"
            "127.0.0.1:5353/udp web -> 172.18.0.3 53 fd00::3 53\n");
}

TEST(WantedPorts, OfAContainerWithoutAnAddressLeadToTheGuestsPort) {
  EXPECT_EQ(wanted(R"([{"Id":"1","Names":["/a"],"Ports":[{"IP":"","PrivatePort":1,"PublicPort":2,"Type":"tcp"},
                      {"IP":"::","PrivatePort":1,"PublicPort":2,"Type":"tcp"}],"NetworkSettings":{}}])"),
            "0.0.0.0:2/tcp a -> 127.0.0.1 2\n[::]:2/tcp a -> ::1 2\n");
}

TEST(WantedPorts, LeaveOutWhatIsNotUnderstood) {
  EXPECT_EQ(
      wanted(R"([1, null, {}, {"Ports":7}, {"Ports":[1, {}, {"IP":"no","PrivatePort":1,"PublicPort":1,"Type":"tcp"},
                      {"IP":"0.0.0.0","PrivatePort":1,"PublicPort":70000,"Type":"tcp"},
                      {"IP":"0.0.0.0","PrivatePort":1,"PublicPort":-1,"Type":"tcp"},
                      {"IP":"0.0.0.0","PrivatePort":1,"PublicPort":1,"Type":"sctp"}]}])"),
      "");
}

TEST(WantedPorts, TellTwoRunsOfAContainerApart) {
  std::string again = web;
  again.replace(again.find("e1"), 2, "e2");
  const auto run = [](std::string_view list) {
    return wanted_ports(boost::json::parse(list).as_array(), {}).begin()->second.container->run;
  };
  EXPECT_NE(run(web), run(again));
}

using Range = std::pair<std::uint16_t, std::uint16_t>;

TEST(EphemeralPorts, AreNoneOfThoseThatTheHostTakesByItself) {
  const Range on_linux = ephemeral_ports("default", {32768, 60999});
  EXPECT_GE(on_linux.first, 61000);
  EXPECT_EQ(on_linux.second, 65535);
  const Range on_macos = ephemeral_ports("default", {49152, 65535});
  EXPECT_GE(on_macos.first, 32768);
  EXPECT_EQ(on_macos.second, 49151);
  EXPECT_EQ(ephemeral_ports("default", {1024, 65535}), Range(1024, 65535)) << "where there are no others";
}

TEST(EphemeralPorts, BeginElsewhereForAnotherMachine) {
  std::set<std::uint16_t> begins;
  for (const char* name : {"default", "work", "play", "amd64", "podman"})
    begins.insert(ephemeral_ports(name, {32768, 60999}).first);
  EXPECT_GE(begins.size(), 4u);
  for (const std::uint16_t begin : begins) EXPECT_LE(begin, 65535 - 255) << "room for some, wherever it begins";
}

}  // namespace
}  // namespace cl
