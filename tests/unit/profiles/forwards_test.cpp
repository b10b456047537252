#include "profiles/forwards.hpp"

#include <gtest/gtest.h>

#include "src/base/path.hpp"

namespace cl {
namespace {

/// "PROTOCOL FROM > TO", with the machine's end in brackets; or what is wrong.
std::string parsed(std::string_view text) {
  Forward forward;
  if (const auto wrong = parse_forward(text, forward)) return *wrong;
  const std::string from = forward.from.str(), to = forward.to.str();
  return std::string(forward.protocol()) + " " +
         (forward.reverse ? "(" + from + ") > " + to : from + " > (" + to + ")");
}

TEST(Forwards, AnItemIsTakenApart) {
  EXPECT_EQ(parsed("8080:80"), "tcp 127.0.0.1:8080 > (127.0.0.1:80)");
  EXPECT_EQ(parsed("8080:80/tcp"), parsed("8080:80"));
  EXPECT_EQ(parsed("53:53/udp"), "udp 127.0.0.1:53 > (127.0.0.1:53)");
  EXPECT_EQ(parsed("0.0.0.0:8080:80"), "tcp 0.0.0.0:8080 > (127.0.0.1:80)");
  EXPECT_EQ(parsed("8080:172.17.0.2:80"), "tcp 127.0.0.1:8080 > (172.17.0.2:80)");
  EXPECT_EQ(parsed("0.0.0.0:8080:172.17.0.2:80/udp"), "udp 0.0.0.0:8080 > (172.17.0.2:80)");
  EXPECT_EQ(parsed("localhost:8080:localhost:80"), parsed("8080:80"));
  EXPECT_EQ(parsed("[::]:8080:[::1]:80"), "tcp [::]:8080 > ([::1]:80)");
  EXPECT_EQ(parsed("[fe80::1]:1:65535"), "tcp [fe80::1]:1 > (127.0.0.1:65535)");
}

TEST(Forwards, AnEndIsAUnixSocket) {
  EXPECT_EQ(parsed("~/x.sock:/run/x.sock"), "unix ~/x.sock > (/run/x.sock)");
  EXPECT_EQ(parsed("/tmp/with space/и.sock:/run/x.sock"), "unix /tmp/with space/и.sock > (/run/x.sock)");
  EXPECT_EQ(parsed("~/x.sock:80"), "unix ~/x.sock > (127.0.0.1:80)");
  EXPECT_EQ(parsed("~/x.sock:[::1]:80/tcp"), "unix ~/x.sock > ([::1]:80)");
  EXPECT_EQ(parsed("8080:/run/x.sock"), "tcp 127.0.0.1:8080 > (/run/x.sock)");
  EXPECT_EQ(parsed("8080:/run/udp/tcp"), "tcp 127.0.0.1:8080 > (/run/udp/tcp)") << "the end of a path is no protocol";
}

TEST(Forwards, AReverseOneListensInTheMachine) {
  EXPECT_EQ(parsed("reverse:9000:9001"), "tcp (127.0.0.1:9000) > 127.0.0.1:9001");
  EXPECT_EQ(parsed("reverse:0.0.0.0:9000:[::1]:9001"), "tcp (0.0.0.0:9000) > [::1]:9001");
  EXPECT_EQ(parsed("reverse:/run/x.sock:~/x.sock"), "unix (/run/x.sock) > ~/x.sock");
  EXPECT_EQ(parsed("reverse:/run/x.sock:22"), "unix (/run/x.sock) > 127.0.0.1:22");
  EXPECT_EQ(parsed("reverse:9000:~/x.sock"), "tcp (127.0.0.1:9000) > ~/x.sock");
}

TEST(Forwards, NonsenseIsNamed) {
  const std::string two = "must have two ends with a colon between, such as 8080:80 or ~/x.sock:/run/x.sock, not ";
  const std::pair<const char*, std::string> cases[] = {
      {"", two + "''"},
      {"8080", two + "'8080'"},
      {"~/x.sock", two + "'~/x.sock'"},
      {"reverse:", two + "'reverse:'"},
      {"reverse:9000", two + "'reverse:9000'"},
      {"127.0.0.1:8080", two + "'127.0.0.1:8080'"},
      {"1:2:3", "has more than two ends: '1:2:3'"},
      {"~/a:/b:/c", "has more than two ends: '~/a:/b:/c'"},
      {"8080:80:", "has more than two ends: '8080:80:'"},
      {"0:80", "has '0', which is no port from 1 to 65535: '0:80'"},
      {"8080:65536", "has '65536', which is no port from 1 to 65535: '8080:65536'"},
      {"99999999999999:80", "has '99999999999999', which is no port from 1 to 65535: '99999999999999:80'"},
      {"-1:80", "has '-1', which is no port from 1 to 65535: '-1:80'"},
      {"127.0.0.1::80", "has '', which is no port from 1 to 65535: '127.0.0.1::80'"},
      {"127.0.0.1:x:80", "has 'x', which is no port from 1 to 65535: '127.0.0.1:x:80'"},
      {"8000-8010:80", "has a range of ports, '8000-8010'; each port is a forward of its own: '8000-8010:80'"},
      {"80:1-2/udp", "has a range of ports, '1-2'; each port is a forward of its own: '80:1-2/udp'"},
      {"8080:db:80",
       "has 'db', which is no port, no address (names are not looked up) and no path from / or ~ on: '8080:db:80'"},
      {"256.0.0.1:1:2",
       "has '256.0.0.1', which is no port, no address (names are not looked up) and no path from / or "
       "~ on: '256.0.0.1:1:2'"},
      {"./x.sock:/run/x.sock",
       "has './x.sock', which is no port, no address (names are not looked up) and no path from / or ~ on: "
       "'./x.sock:/run/x.sock'"},
      {"~user/x:/run/x",
       "has '~user/x', which is no port, no address (names are not looked up) and no path from / or ~ on: "
       "'~user/x:/run/x'"},
      {"8080 :80",
       "has '8080 ', which is no port, no address (names are not looked up) and no path from / or ~ on: '8080 :80'"},
      {"::1:8080:80", "has an empty part; an IPv6 address is written in brackets, as [::1]:8080: '::1:8080:80'"},
      {":8080:80", "has an empty part; an IPv6 address is written in brackets, as [::1]:8080: ':8080:80'"},
      {"8080:", "has an empty part; an IPv6 address is written in brackets, as [::1]:8080: '8080:'"},
      {"[::1:8080:80", "has '[::1:8080:80', which is no IPv6 address in brackets: '[::1:8080:80'"},
      {"[127.0.0.1]:8080:80", "has '[127.0.0.1]', which is no IPv6 address in brackets: '[127.0.0.1]:8080:80'"},
      {"[]:8080:80", "has '[]', which is no IPv6 address in brackets: '[]:8080:80'"},
      {"[::1]8080:80", "has an address without a port, '::1': '[::1]8080:80'"},
      {"8080:127.0.0.1", "has an address without a port, '127.0.0.1': '8080:127.0.0.1'"},
      {"8080:80/sctp", "has 'sctp' for a protocol, which is tcp or udp: '8080:80/sctp'"},
      {"8080:80/", "has '' for a protocol, which is tcp or udp: '8080:80/'"},
      {"8080:80/UDP", "has 'UDP' for a protocol, which is tcp or udp: '8080:80/UDP'"},
      {"8080/udp:80",
       "has '8080/udp', which is no port, no address (names are not looked up) and no path from / or ~ on: "
       "'8080/udp:80'"},
      {"~/x.sock:80/udp", "has a unix socket, which carries no udp: '~/x.sock:80/udp'"},
      {"reverse:53:53/udp",
       "cannot be both udp and reverse; reverse ones are tcp or unix sockets: 'reverse:53:53/udp'"},
      {"8080:~/x.sock", "has '~/x.sock' in the machine, where a path begins with /: '8080:~/x.sock'"},
      {"reverse:~/x.sock:80", "has '~/x.sock' in the machine, where a path begins with /: 'reverse:~/x.sock:80'"},
      {"~:/run/x.sock", "has '~', which is a folder and no socket in one: '~:/run/x.sock'"},
      {"~/x.sock:/run/", "has '/run/', which is a folder and no socket in one: '~/x.sock:/run/'"},
      {"8080:80\n", "must be a single line: 8080:80"},
  };
  for (const auto& [text, wrong] : cases) EXPECT_EQ(parsed(text), wrong);
  const std::string longest = "/" + std::string(106, 'x');
  EXPECT_EQ(parsed("80:" + longest), "tcp 127.0.0.1:80 > (" + longest + ")");
  EXPECT_NE(parsed("80:" + longest + "x").find("longer than 107 bytes"), std::string::npos);
  EXPECT_NE(parsed(std::string_view("80:/a\0b", 7)).find("single line"), std::string::npos);
}

TEST(Forwards, WhatIsWrittenIsReadAgain) {
  for (const char* text : {"127.0.0.1:8080", "[::1]:80", "~/x.sock"}) {
    Forward forward;
    ASSERT_EQ(parse_forward(std::string(text) + ":80", forward), std::nullopt);
    EXPECT_EQ(forward.from.str(), text);
  }
}

TEST(Forwards, AListHasNoTwoAtThePlaceOfOne) {
  EXPECT_EQ(check_forwards({}), std::nullopt);
  EXPECT_EQ(check_forwards({"8080:80", "8081:80", "8080:80/udp", "reverse:8080:80", "[::1]:8080:80"}), std::nullopt);
  EXPECT_EQ(check_forwards({"8080:80", "127.0.0.1:8080:81"}),
            "has two that listen at the same place: '8080:80' and '127.0.0.1:8080:81'");
  EXPECT_EQ(check_forwards({"~/x:80", user_home().string() + "/./x:81"}).value_or("").substr(0, 7), "has two");
  EXPECT_EQ(check_forwards({"reverse:/run/x:80", "reverse:/run/../run/x:81"}).value_or("").substr(0, 7), "has two");
  EXPECT_EQ(check_forwards({"80:80", "8080"}).value_or("").substr(0, 18), "must have two ends");
  std::vector<std::string> many;
  for (std::size_t i = 1; i <= most_forwards; ++i) many.push_back(std::to_string(i) + ":80");
  EXPECT_EQ(check_forwards(many), std::nullopt);
  many.emplace_back("8080:80");
  EXPECT_EQ(check_forwards(many), "are 65, and at most 64 can be");
}

TEST(Forwards, OneIsFoundByItselfOrByWhereItListens) {
  const std::vector<std::string> items{"8080:80", "53:53/udp", "~/x.sock:/run/x.sock", "reverse:9000:9001",
                                       "reverse:/run/y.sock:~/y.sock"};
  const auto found = [&items](std::string_view text, bool reverse = false) {
    std::string all;
    for (const std::string& one : matching_forwards(items, text, reverse)) all += one + " ";
    return all;
  };
  EXPECT_EQ(found("8080:80"), "8080:80 ");
  EXPECT_EQ(found("127.0.0.1:8080:80/tcp"), "8080:80 ");
  EXPECT_EQ(found("8080"), "8080:80 ");
  EXPECT_EQ(found("127.0.0.1:8080"), "8080:80 ");
  EXPECT_EQ(found("8080:81"), "") << "it leads elsewhere";
  EXPECT_EQ(found("53"), "") << "that one is udp";
  EXPECT_EQ(found("53/udp"), "53:53/udp ");
  EXPECT_EQ(found("~/x.sock"), "~/x.sock:/run/x.sock ");
  EXPECT_EQ(found(user_home().string() + "/x.sock"), "~/x.sock:/run/x.sock ");
  EXPECT_EQ(found("9000"), "") << "that one is reverse";
  EXPECT_EQ(found("9000", true), "reverse:9000:9001 ");
  EXPECT_EQ(found("reverse:9000"), "reverse:9000:9001 ");
  EXPECT_EQ(found("reverse:9000:9001", true), "reverse:9000:9001 ");
  EXPECT_EQ(found("/run/y.sock", true), "reverse:/run/y.sock:~/y.sock ");
  EXPECT_EQ(found("8080", true), "");
  for (const char* nonsense : {"", "x", "reverse:", "8080:80:1", "/"}) EXPECT_EQ(found(nonsense), "") << nonsense;
}

TEST(Forwards, WordsSayWhichWay) {
  Forward forward;
  ASSERT_EQ(parse_forward("8080:80", forward), std::nullopt);
  EXPECT_EQ(in_words(forward), "127.0.0.1:8080 on this host leads to 127.0.0.1:80 in the machine");
  ASSERT_EQ(parse_forward("reverse:/run/x:~/x", forward), std::nullopt);
  EXPECT_EQ(in_words(forward), "/run/x in the machine leads to ~/x on this host");
}

TEST(Forwards, StatesComeBack) {
  const std::vector<ForwardState> states{{"8080:80", "open", "", ""},
                                         {"81:80", "failed", "taken by nginx", "end what holds it"}};
  EXPECT_EQ(forwards_from_json(to_json(states)), states);
}

}  // namespace
}  // namespace cl
