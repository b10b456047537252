#include "docker/ports.hpp"

#include <gtest/gtest.h>

#include <array>
#include <boost/json/parse.hpp>
#include <set>

namespace cl {
namespace {

/// What would be opened, low ports, too, unless the rules are given.
std::string wanted(std::string_view list, PortRules rules = {.low_ports = true}) {
  std::string all;
  for (const auto& [at, port] : wanted_ports(boost::json::parse(list).as_array(), rules)) {
    if (port.refused != Refusal::none) continue;
    all += at.str() + " " + port.container->name + " ->";
    for (const auto& [host, number] : port.targets()) all += " " + host + " " + std::to_string(number);
    all += "\n";
  }
  return all;
}

std::string refused(const WantedPorts& ports) {
  constexpr std::array<const char*, 5> words{"", "address", "low", "limit", "files"};
  std::string all;
  for (const auto& [at, port] : ports)
    if (port.refused != Refusal::none)
      all += at.str() + " " + words.at(static_cast<std::size_t>(port.refused)) +
             (port.more > 0 ? " and " + std::to_string(port.more) : "") + "\n";
  return all;
}

/// What the rules refuse of ports that one container publishes at these addresses, "192.0.2.1 8080".
std::string refused(const std::vector<std::pair<std::string, int>>& published, const PortRules& rules) {
  boost::json::array ports;
  for (const auto& [address, number] : published)
    ports.push_back(boost::json::object{{"IP", address}, {"PrivatePort", 1}, {"PublicPort", number}, {"Type", "tcp"}});
  const boost::json::array list{boost::json::object{{"Id", "1"}, {"Names", {"/a"}}, {"Ports", ports}}};
  return refused(wanted_ports(list, rules));
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
}

TEST(WantedPorts, AreRefusedAtAWiderAddressThanTheProfiles) {
  const std::vector<std::pair<std::string, int>> everywhere{
      {"0.0.0.0", 2000},   {"::", 2000},  {"192.0.2.1", 2001},   {"192.0.2.7", 2002},       {"127.0.0.1", 2003},
      {"127.8.8.8", 2004}, {"::1", 2005}, {"2001:db8::1", 2006}, {"::ffff:192.0.2.1", 2007}};
  EXPECT_EQ(refused(everywhere, {}), "");
  EXPECT_EQ(refused(everywhere, {asio::ip::make_address("127.0.0.1")}),
            "192.0.2.1:2001/tcp address\n192.0.2.7:2002/tcp address\n[2001:db8::1]:2006/tcp address\n"
            "[::ffff:192.0.2.1]:2007/tcp address\n");
  EXPECT_EQ(refused(everywhere, {asio::ip::make_address("192.0.2.7")}),
            "192.0.2.1:2001/tcp address\n[2001:db8::1]:2006/tcp address\n[::ffff:192.0.2.1]:2007/tcp address\n");
  EXPECT_EQ(refused(everywhere, {asio::ip::make_address("::1")}),
            refused(everywhere, {asio::ip::make_address("127.0.0.1")}));
  EXPECT_EQ(refused(everywhere, {asio::ip::make_address("::")}), "");
}

TEST(WantedPorts, BelowTheOrdinaryOnesAreRefusedUnlessAllowed) {
  const std::vector<std::pair<std::string, int>> low{{"127.0.0.1", 22}, {"0.0.0.0", 1023}, {"0.0.0.0", 1024}};
  EXPECT_EQ(refused(low, {}), "127.0.0.1:22/tcp low\n0.0.0.0:1023/tcp low\n");
  EXPECT_EQ(refused(low, {.low_ports = true}), "");
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

/// A container with ports from `first` on, on every address.
void publish(WantedPorts& ports, const std::string& id, std::uint16_t first, int count) {
  const auto container = std::make_shared<Container>();
  container->id = container->name = id;
  for (int i = 0; i < count; ++i)
    for (const char* every : {"0.0.0.0", "::"}) {
      PublishedPort port;
      port.at = {Protocol::tcp, asio::ip::make_address(every), static_cast<std::uint16_t>(first + i)};
      port.container = container;
      ports.emplace(port.at, port);
    }
}

bool none_is_open(const HostPort&) { return false; }

TEST(WantedPorts, AreKeptToTheirLimit) {
  WantedPorts ports;
  publish(ports, "a", 2000, 3);
  publish(ports, "b", 3000, 3);
  EXPECT_EQ(keep_to_limit(ports, 4, 100, &none_is_open), 0u);
  EXPECT_EQ(refused(ports), "0.0.0.0:3001/tcp limit and 1\n") << "both families of a port are one";
  EXPECT_EQ(ports.size(), 9u) << "what is refused for the same reason is one";
  WantedPorts many;
  publish(many, "a", 2000, 3);
  EXPECT_EQ(keep_to_limit(many, 100, 4, &none_is_open), 0u);
  EXPECT_EQ(refused(many), "0.0.0.0:2002/tcp files\n") << "each family of a port takes a socket";
}

TEST(WantedPorts, ThatAreOpenAreNotGivenUpForOthers) {
  WantedPorts ports;
  publish(ports, "new", 2000, 3);
  publish(ports, "old", 3000, 2);
  keep_to_limit(ports, 3, 100, [](const HostPort& at) { return at.port >= 3000; });
  EXPECT_EQ(refused(ports), "0.0.0.0:2001/tcp limit and 1\n");
  WantedPorts fewer;
  publish(fewer, "old", 3000, 4);
  keep_to_limit(fewer, 1, 100, [](const HostPort&) { return true; });
  EXPECT_EQ(refused(fewer), "0.0.0.0:3001/tcp limit and 2\n") << "a lower limit holds for those as well";
}

TEST(WantedPorts, ThatAreRefusedAreNeverManyInAList) {
  WantedPorts ports;
  for (int i = 0; i < 300; ++i) publish(ports, "c" + std::to_string(i), static_cast<std::uint16_t>(2000 + 10 * i), 2);
  EXPECT_EQ(keep_to_limit(ports, 10, 100, &none_is_open), 2u * (300 - 5 - 100));
  EXPECT_EQ(ports.size(), 20u + 100u);
}

std::string of_services(std::string_view list, PortRules rules = {}) {
  WantedPorts wanted;
  add_services(wanted, boost::json::parse(list).as_array(), rules);
  std::string all;
  for (const auto& [at, port] : wanted)
    all += at.str() + " " + port.container->name + " -> " + port.targets().front().first + " " +
           std::to_string(port.targets().front().second) + "\n";
  return all;
}

TEST(WantedPorts, AreThoseThatASwarmsServicesPublishOnEachNode) {
  constexpr const char* given = R"([{"ID":"s1","Spec":{"Name":"web","EndpointSpec":{"Ports":[{"PublishedPort":1}]}},
    "Endpoint":{"Ports":[{"Protocol":"tcp","TargetPort":80,"PublishedPort":18081,"PublishMode":"ingress"},
                         {"Protocol":"udp","TargetPort":53,"PublishedPort":30000,"PublishMode":"ingress"},
                         {"Protocol":"sctp","TargetPort":9,"PublishedPort":9,"PublishMode":"ingress"},
                         {"Protocol":"tcp","TargetPort":81,"PublishedPort":18082,"PublishMode":"host"}]}}])";
  EXPECT_EQ(
      of_services(given),
      "0.0.0.0:18081/tcp the service web -> 127.0.0.1 18081\n[::]:18081/tcp the service web -> 127.0.0.1 18081\n"
      "0.0.0.0:30000/udp the service web -> 127.0.0.1 30000\n[::]:30000/udp the service web -> 127.0.0.1 30000\n");
  EXPECT_EQ(of_services(given, PortRules{{}, Forwarded::none}), "");
  constexpr const char* asked = R"([{"ID":"s1","Spec":{"Name":"web","EndpointSpec":{"Ports":[
    {"Protocol":"tcp","TargetPort":80,"PublishedPort":7,"PublishMode":"ingress"},{"Protocol":"tcp","TargetPort":81}]}},
    "Endpoint":{}}])";
  EXPECT_EQ(of_services(asked, PortRules{asio::ip::make_address("127.0.0.1")}),
            "127.0.0.1:7/tcp the service web -> 127.0.0.1 7\n[::1]:7/tcp the service web -> 127.0.0.1 7\n");
  EXPECT_EQ(of_services(R"([7,{},{"Endpoint":7},{"Endpoint":{"Ports":[7,{"Protocol":"tcp"}]}}])"), "");
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

TEST(WantedPorts, AreNoneWhenNothingIsForwarded) {
  EXPECT_EQ(wanted(web, PortRules{asio::ip::make_address("0.0.0.0"), Forwarded::none}), "");
}

std::string with_listeners(std::string_view list, const std::vector<std::string>& lines, PortRules rules = {}) {
  const auto containers = boost::json::parse(list).as_array();
  std::vector<Listener> listeners;
  for (const std::string& line : lines)
    if (const auto listener = read_listener(line)) listeners.push_back(*listener);
  WantedPorts ports = wanted_ports(containers, rules);
  add_listeners(ports, listeners, containers, rules);
  std::string all;
  for (const auto& [at, port] : ports) {
    const auto [host, number] = port.targets().front();
    all += at.str() + " " + port.container->name + " -> " + host + " " + std::to_string(number) + "\n";
  }
  return all;
}

TEST(Listeners, OnEveryAddressOrOnLoopbackAreWantedHere) {
  EXPECT_EQ(with_listeners("[]", {"tcp 0.0.0.0 80 /system.slice/a.service", "tcp :: 81 -", "tcp 127.0.0.1 82 /",
                                  "tcp ::1 83 /", "udp 0.0.0.0 53 /"}),
            "0.0.0.0:80/tcp the machine -> 127.0.0.1 80\n"
            "0.0.0.0:81/tcp the machine -> ::1 81\n"
            "[::]:81/tcp the machine -> ::1 81\n"
            "127.0.0.1:82/tcp the machine -> 127.0.0.1 82\n"
            "[::1]:83/tcp the machine -> ::1 83\n"
            "0.0.0.0:53/udp the machine -> 127.0.0.1 53\n");
}

TEST(Listeners, OnOneOfTheGuestsAddressesStayInTheGuest) {
  EXPECT_EQ(with_listeners("[]", {"tcp 172.17.0.1 80 /", "tcp 10.0.2.15 81 /", "tcp 127.0.0.53 53 /"}), "");
}

TEST(Listeners, AreOpenedWhereTheProfileSays) {
  EXPECT_EQ(with_listeners("[]", {"tcp :: 80 /"}, PortRules{asio::ip::make_address("127.0.0.1"), Forwarded::all}),
            "127.0.0.1:80/tcp the machine -> ::1 80\n[::1]:80/tcp the machine -> ::1 80\n");
}

TEST(Listeners, AreNamedAfterTheirContainer) {
  const std::string id(64, 'a');
  const std::string list = R"([{"Id":")" + id + R"(","Names":["/net"],"Ports":[]}])";
  for (const std::string& group : {"/docker/" + id, "/system.slice/docker-" + id + ".scope"})
    EXPECT_EQ(with_listeners(list, {"tcp 0.0.0.0 80 " + group}), "0.0.0.0:80/tcp net -> 127.0.0.1 80\n");
  EXPECT_EQ(with_listeners(list, {"tcp 0.0.0.0 80 /docker/" + std::string(64, 'b')}),
            "0.0.0.0:80/tcp the machine -> 127.0.0.1 80\n");
}

TEST(Listeners, DoNotTakeThePlaceOfPublishedPorts) {
  const std::string all = with_listeners(web, {"tcp 0.0.0.0 8080 /", "tcp :: 8080 /"});
  EXPECT_EQ(all.find("the machine"), std::string::npos) << all;
}

TEST(Listeners, AreNotReadFromNonsense) {
  for (const char* line : {"", "tcp", "tcp 0.0.0.0 80", "tcp 0.0.0.0 0 /", "tcp 0.0.0.0 65536 /", "tcp nowhere 1 /",
                           "sctp 0.0.0.0 1 /", "tcp 0.0.0.0 x /"})
    EXPECT_FALSE(read_listener(line)) << line;
  EXPECT_TRUE(read_listener("tcp 0.0.0.0 1 /" + std::string(500, 'x')));
  EXPECT_FALSE(read_listener("tcp 0.0.0.0 1 /" + std::string(600, 'x'))) << "it would be kept";
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
