#include "src/daemon/event_stream.hpp"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>

namespace cl {
namespace {

namespace json = boost::json;

PortStatus port(std::uint16_t number, const std::string& problem = "") {
  PortStatus one;
  one.at.address = asio::ip::make_address("127.0.0.1");
  one.at.port = number;
  one.container = "web";
  one.container_id = "abc";
  one.problem = problem;
  return one;
}

ShareState share(const std::string& location, const std::string& problem = "") {
  ShareState one;
  one.location = location;
  one.mount_point = location;
  one.type = "virtiofs";
  one.problem = problem;
  return one;
}

std::string told(const std::optional<Watched>& before, const Watched& now) {
  std::string text;
  for (const std::string& line : events_between(before, now, "work", 7)) {
    const json::object event = json::parse(line).as_object();
    EXPECT_EQ(event.at("time"), 7);
    EXPECT_EQ(event.at("profile"), "work");
    for (const char* key : {"event", "action", "before", "state", "location", "port", "forward", "problem", "reason"})
      if (const json::value* value = event.if_contains(key))
        text += (value->is_string() ? std::string(value->get_string()) : json::serialize(*value)) + " ";
    text += "\n";
  }
  return text;
}

TEST(Events, BeginWithAllThatIsThere) {
  EXPECT_EQ(told(std::nullopt, {"stopped", "", {}, {}}), "state stopped \n");
  EXPECT_EQ(told(std::nullopt, {"running", "", {port(80), port(81, "taken")}, {share("/data")}}),
            "state running \nshare mounted /data \nport open 80 \nport failed 81 taken \n");
}

TEST(Events, TellWhatHasChangedAndNothingElse) {
  const Watched before{"running", "", {port(80), port(81)}, {share("/data"), share("/old")}};
  EXPECT_EQ(told(before, before), "");
  EXPECT_EQ(told(before, {"sleeping", "", {port(80), port(81)}, {share("/data"), share("/old")}}),
            "state running sleeping \n");
  EXPECT_EQ(told(before, {"degraded", "it does not answer", {port(80, "taken")}, {share("/data"), share("/new")}}),
            "state running degraded it does not answer \nshare removed /old \nshare mounted /new \n"
            "port closed 81 \nport failed 80 taken \n");
}

TEST(Events, TellWhetherOthersMayReachAPort) {
  PortStatus open = port(8080);
  open.at.address = asio::ip::make_address("0.0.0.0");
  const auto lines = events_between(Watched{"running", "", {}, {}}, {"running", "", {open, port(81)}, {}}, "work", 7);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(json::parse(lines[0]).at("reach"), "network");
  EXPECT_EQ(json::parse(lines[1]).at("reach"), "host");
}

TEST(Events, TellHowForwardsAre) {
  const Watched before{"running", "", {}, {}, {{"8080:80", "open", "", ""}, {"reverse:1:1", "waiting", "", ""}}};
  EXPECT_EQ(told(std::nullopt, before), "state running \nforward open 8080:80 \nforward waiting reverse:1:1 \n");
  EXPECT_EQ(told(before, {"running", "", {}, {}, {{"reverse:1:1", "open", "", ""}, {"81:80", "failed", "taken", "x"}}}),
            "forward closed 8080:80 \nforward open reverse:1:1 \nforward failed 81:80 taken \n");
}

TEST(Events, TellAPortThatAnotherContainerHasTaken) {
  PortStatus other = port(80);
  other.container_id = "def";
  EXPECT_EQ(told(Watched{"running", "", {port(80)}, {}}, {"running", "", {other}, {}}),
            "port closed 80 \nport open 80 \n");
}

}  // namespace
}  // namespace cl
