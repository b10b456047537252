#include "src/rpc/requests.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <set>

#include "src/base/error.hpp"
#include "src/base/file.hpp"
#include "src/base/version.hpp"
#include "src/rpc/message.hpp"

namespace cl::rpc {
namespace {

/// "code: what" of the refusal, or "accepted".
std::string refusal(std::string_view line) {
  try {
    decode_request(line);
    return "accepted";
  } catch (const Error& error) {
    return std::string(to_string(error.code())) + ": " + error.what();
  }
}

template <class R>
R request_in(std::string_view line) {
  return std::get<R>(decode_request(line).request);
}

/// Calls `look` with an empty request of each kind.
template <class Look, class... R>
void for_each_request(Look look, const std::variant<R...>*) {
  (look(R{}), ...);
}
template <class Look>
void for_each_request(Look look) {
  for_each_request(look, static_cast<const Request*>(nullptr));
}

TEST(Requests, ComeBackWithAllTheirFields) {
  Start start;
  start.settings = {{"cpus", "4"}, {"memory", "8GiB"}};
  start.environment = {{"HOME", "/home/u"}};
  start.ssh_agent = "/tmp/agent";
  start.cold = true;
  start.is_new = true;
  start.yes = true;
  const auto same = request_in<Start>(encode(Request(start)));
  EXPECT_EQ(same.settings, start.settings);
  EXPECT_EQ(same.environment, start.environment);
  EXPECT_EQ(same.ssh_agent, start.ssh_agent);
  EXPECT_TRUE(same.cold && same.is_new && same.yes);

  Exec exec;
  exec.command = "echo \"a\nb\"";
  exec.columns = 80;
  exec.rows = 65535;
  exec.term = "xterm";
  const auto ran = request_in<Exec>(encode(Request(exec)));
  EXPECT_EQ(ran.command, exec.command);
  EXPECT_EQ(ran.columns, exec.columns);
  EXPECT_EQ(ran.rows, exec.rows);
  EXPECT_EQ(ran.term, exec.term);
}

TEST(Requests, EachVerbReadsWhatItWrote) {
  std::set<std::string_view> verbs;
  for_each_request([&verbs](const auto& one) {
    const std::string line = encode(Request(one));
    EXPECT_EQ(line.find('\n'), std::string::npos);
    const Received back = decode_request(line);
    EXPECT_EQ(encode(back.request), line);
    EXPECT_EQ(back.version, program_version());
    EXPECT_TRUE(back.ignored.empty()) << line;
    verbs.insert(verb_of(back.request));
  });
  EXPECT_EQ(verbs.size(), std::variant_size_v<Request>) << "two kinds have the same verb";
}

/// What programs of version 0.1.0 insist on; they read it by json::object::at().
TEST(Requests, HaveEveryKeyThatOlderDaemonsInsistOn) {
  const auto keys = [](const Request& request) {
    std::set<std::string> all;
    const json::object line = parse_line(encode(request));
    for (const auto& [key, value] : line.at("arguments").as_object()) all.emplace(key);
    return all;
  };
  EXPECT_EQ(keys(Start{}),
            (std::set<std::string>{"settings", "environment", "ssh_agent", "cold", "is_new", "new_data", "yes"}));
  EXPECT_EQ(keys(Apply{}), std::set<std::string>{"settings"});
  EXPECT_EQ(keys(Stop{}), std::set<std::string>{"force"});
  EXPECT_EQ(keys(Delete{}), std::set<std::string>{"data"});
  EXPECT_EQ(keys(Exec{}), std::set<std::string>{"command"});
}

TEST(Requests, AreUnderstoodWithoutOptionalKeys) {
  EXPECT_FALSE(request_in<Start>(R"({"verb":"start","arguments":{}})").cold);
  EXPECT_FALSE(request_in<Start>(R"({"verb":"start"})").is_new);
  EXPECT_FALSE(request_in<Stop>(R"({"verb":"stop","arguments":{"force":null}})").force);
  EXPECT_EQ(request_in<Exec>(R"({"verb":"exec","arguments":{"command":""}})").columns, std::nullopt);
}

TEST(Requests, AreUnderstoodWithUnknownKeysOfWhichTheAskingOnesAreReported) {
  const Received got = decode_request(
      R"({"verb":"stop","arguments":{"force":true,"gently":true,"why":"","list":[],"in":3,"no":false},"x":1})");
  EXPECT_TRUE(std::get<Stop>(got.request).force);
  EXPECT_EQ(got.ignored, (std::vector<std::string>{"gently", "in"}));
  EXPECT_EQ(got.version, "");
}

TEST(Requests, WrongOnesAreRefusedByVerbKeyAndReason) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"verb":"stop","arguments":{"force":"yes"}})",
       "'stop' cannot be understood: 'force' must be true or false, and is a text"},
      {R"({"verb":"start","arguments":{"settings":[]}})", "'settings' must be an object of texts, and is a list"},
      {R"({"verb":"start","arguments":{"settings":{"cpus":4}}})",
       "'settings' has an entry 'cpus' that must be a text, and is a number"},
      {R"({"verb":"exec","arguments":{}})", "'exec' cannot be understood: 'command' is missing"},
      {R"({"verb":"exec","arguments":{"command":{}}})", "'command' must be a text, and is an object"},
      {R"({"verb":"exec","arguments":{"command":"","rows":-1}})", "'rows' must be a whole number from 0 to 65535"},
      {R"({"verb":"exec","arguments":{"command":"","rows":65536}})", "'rows' must be a whole number from 0 to 65535"},
      {R"({"verb":"exec","arguments":{"command":"","rows":1e99}})", "'rows' must be a whole number from 0 to 65535"},
      {R"({"verb":"exec","arguments":{"command":"","rows":1.5}})", "'rows' must be a whole number from 0 to 65535"},
      {R"({"verb":"exec","arguments":{"command":"","rows":"4"}})", "'rows' must be a number, and is a text"},
      {R"({"verb":"start","arguments":[]})", "'arguments' must be an object, and is a list"},
      {R"({"verb":1,"arguments":{}})", "a request cannot be understood: 'verb' must be a text, and is a number"},
      {R"({"arguments":{}})", "a request cannot be understood: 'verb' is missing"},
      {R"({"verb":"stop","version":1})", "'version' must be a text, and is a number"},
      {"", "a request cannot be understood"},
      {"[]", "a request cannot be understood"},
      {"nonsense", "a request cannot be understood"},
      {"{\"verb\"", "a request cannot be understood"}};
  for (const auto& [line, why] : cases) {
    const std::string said = refusal(line);
    EXPECT_TRUE(said.starts_with("protocol: ")) << line << ": " << said;
    EXPECT_NE(said.find(why), std::string::npos) << line << ": " << said;
  }
}

TEST(Requests, HaveLimits) {
  json::object settings;
  for (std::size_t i = 0; i <= max_entries; ++i) settings[std::to_string(i)] = "";
  json::object line{{"verb", "apply"}, {"arguments", json::object{{"settings", settings}}}};
  EXPECT_NE(refusal(json::serialize(line)).find("'settings' has more than 10000 entries"), std::string::npos);

  const std::string deep = R"({"verb":"stop","arguments":{"force":)" + std::string(100'000, '[');
  EXPECT_NE(refusal(deep).find("protocol: a request cannot be understood"), std::string::npos);

  Exec exec;
  exec.command = std::string(max_line, 'x');
  try {
    encode(Request(exec));
    FAIL() << "longer than a line may be";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::usage);
  }
}

TEST(Requests, AnUnknownVerbIsAnErrorWithBothVersionsAndARemedy) {
  const std::string ours(program_version());
  const auto error_of_line = [](std::string_view line) {
    try {
      decode_request(line);
    } catch (const Error& error) {
      return error;
    }
    return Error(Errc::internal, "accepted");
  };
  const Error newer = error_of_line(R"({"verb":"dance","arguments":{},"version":"9.9.9"})");
  EXPECT_EQ(newer.code(), Errc::protocol);
  EXPECT_EQ(newer.what(), "the daemon is of version " + ours +
                              " and does not know 'dance', which a program of version 9.9.9 asks for");
  EXPECT_NE(newer.remedy().find("colima-like restart"), std::string::npos);
  const Error older = error_of_line(R"({"verb":"dance","arguments":{}})");
  EXPECT_NE(std::string(older.what()).find("without a version"), std::string::npos);
  const Error same = error_of_line(R"({"verb":"dance","version":")" + ours + "\"}");
  EXPECT_EQ(same.what(), "the daemon is of version " + ours + " and does not know 'dance'");
  EXPECT_NE(same.remedy().find("start, apply, stop"), std::string::npos) << same.remedy();
}

TEST(Results, ComeBackWithAllTheirFields) {
  PublishedPort port;
  port.container = "web";
  port.port = 8080;
  port.bytes_in = 1ULL << 63U;
  port.since = 1'700'000'000;
  port.problem = "taken";
  const auto back = decode_result<Ports>(to_object(PublishedPorts{{port, {}}}));
  ASSERT_EQ(back.ports.size(), 2U);
  EXPECT_EQ(back.ports[0].container, "web");
  EXPECT_EQ(back.ports[0].port, 8080);
  EXPECT_EQ(back.ports[0].bytes_in, 1ULL << 63U);
  EXPECT_EQ(back.ports[0].since, 1'700'000'000);
  EXPECT_EQ(back.ports[0].problem, "taken");
  EXPECT_EQ(back.ports[1].problem, std::nullopt);
  EXPECT_FALSE(to_object(port).contains("remedy"));
}

TEST(Results, OfOtherVersionsAreUnderstood) {
  const auto told = decode_result<Stop>(json::object{{"news", 1}});
  EXPECT_EQ(told.summary, "");
  EXPECT_TRUE(told.notes.empty());
}

TEST(Results, WrongOnesAreRefusedByVerbKeyAndReason) {
  const auto why = [](auto request, const char* text) {
    try {
      decode_result<decltype(request)>(json::parse(text).as_object());
    } catch (const Error& error) {
      return std::string(to_string(error.code())) + ": " + error.what();
    }
    return std::string("accepted");
  };
  EXPECT_EQ(why(Start{}, R"({"summary":1})"),
            "protocol: the daemon's answer to 'start' cannot be understood: 'summary' must be a text, and is a number");
  EXPECT_EQ(
      why(Start{}, R"({"notes":[1]})"),
      "protocol: the daemon's answer to 'start' cannot be understood: 'notes' holds an entry that must be a text, "
      "and is a number");
  EXPECT_EQ(
      why(Ports{}, R"({"ports":[{"port":"x"}]})"),
      "protocol: the daemon's answer to 'ports' cannot be understood: 'ports' holds an entry that 'port' must be a "
      "number, and is a text");
  EXPECT_EQ(why(Ports{}, R"({"ports":[7]})"),
            "protocol: the daemon's answer to 'ports' cannot be understood: 'ports' holds an entry that must be an "
            "object, and is a number");
}

// --- docs/protocols.md ------------------------------------------------------------------------------------------

std::string control_socket_chapter() {
  const std::string text = read_file(fs::path(COLIMA_LIKE_SOURCE) / "docs" / "protocols.md");
  const auto begin = text.find("\n## Control socket\n");
  return text.substr(begin, text.find("\n## ", begin + 1) - begin);
}

/// What stands in backquotes.
std::vector<std::string> quoted_in(std::string_view text) {
  std::vector<std::string> words;
  for (std::size_t at = text.find('`'); at != std::string_view::npos; at = text.find('`', at)) {
    const auto end = text.find('`', at + 1);
    words.emplace_back(text.substr(at + 1, end - at - 1));
    at = end + 1;
  }
  return words;
}

struct Row {
  std::vector<std::string> arguments, result;
};

/// The table of verbs: "| `verb` | `arguments` | `result` |".
std::map<std::string, Row> documented() {
  std::map<std::string, Row> rows;
  const std::string chapter = control_socket_chapter();
  for (auto at = chapter.find("\n| `"); at != std::string::npos; at = chapter.find("\n| `", at + 1)) {
    std::vector<std::string> cells;
    const std::string line = chapter.substr(at + 1, chapter.find('\n', at + 1) - at - 1);
    for (std::size_t begin = 1, end = 0; (end = line.find('|', begin)) != std::string::npos; begin = end + 1)
      cells.push_back(line.substr(begin, end - begin));
    if (cells.size() != 3) continue;
    rows[quoted_in(cells[0]).at(0)] = {quoted_in(cells[1]), quoted_in(cells[2])};
  }
  return rows;
}

template <class Struct>
std::vector<std::string> names_of() {
  const auto keys = keys_of<Struct>();
  return {keys.begin(), keys.end()};
}

TEST(Docs, ListEveryVerbWithItsArgumentsAndItsResultAndNoOther) {
  const auto rows = documented();
  EXPECT_EQ(rows.size(), std::variant_size_v<Request>);
  for_each_request([&rows]<class R>(const R&) {
    const auto row = rows.find(std::string(R::verb));
    ASSERT_NE(row, rows.end()) << R::verb;
    EXPECT_EQ(row->second.arguments, names_of<R>()) << R::verb;
    EXPECT_EQ(row->second.result, names_of<typename R::Result>()) << R::verb;
  });
}

TEST(Docs, ShowLinesThatAreUnderstood) {
  const std::string chapter = control_socket_chapter();
  int requests = 0, answers = 0;
  for (auto at = chapter.find("\n    "); at != std::string::npos; at = chapter.find("\n    ", at + 1)) {
    const std::string line = chapter.substr(at + 5, chapter.find('\n', at + 1) - at - 5);
    if (line.starts_with("-> ")) {
      const Received received = decode_request(line.substr(3));
      EXPECT_TRUE(received.ignored.empty()) << line;
      ++requests;
    } else if (line.starts_with("<- {")) {
      EXPECT_NO_THROW(decode_answer(line.substr(3))) << line;
      ++answers;
    }
  }
  EXPECT_GE(requests, 1);
  EXPECT_GE(answers, 4);
}

}  // namespace
}  // namespace cl::rpc
