#include "docker/api.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/fakes/choppy_stream.hpp"
#include "tests/support/run.hpp"

namespace cl::docker {
namespace {

using test::MemoryStream;

enum class Kind { ping, version };
enum class After { stays_open, closes };
struct Talk {
  std::string request, result;
};

/// Asks an engine that answers with `answer`, whatever it is asked.
asio::awaitable<Talk> talk(Kind kind, std::string answer, After after, std::optional<test::Chop> chop) {
  auto ends = MemoryStream::pair(co_await asio::this_coro::executor, 4 << 20);
  std::unique_ptr<ByteStream> ours = std::move(ends.first);
  if (chop) ours = test::choppy(std::move(ours), *chop);
  co_await ends.second->write(answer);
  if (after == After::closes) co_await ends.second->shutdown_write();
  Talk done;
  try {
    if (kind == Kind::ping) {
      co_await ping(*ours);
      done.result = "OK";
    } else {
      const Version v = co_await version(*ours);
      done.result = v.version + " " + v.api_version + " " + v.os + " " + v.arch;
    }
  } catch (const Error& error) {
    done.result = std::string(to_string(error.code())) + ": " + one_line(error);
  }
  ours->close();
  done.request = co_await test::read_to_end(*ends.second);
  co_return done;
}

std::string result(Kind kind, const std::string& answer, After after = After::stays_open) {
  const std::string whole = test::run(talk(kind, answer, after, {})).result;
  const std::string split = test::run(talk(kind, answer, after, test::Chop{1, 1})).result;
  EXPECT_EQ(whole, split) << "the answer depends on how it is cut into pieces";
  return whole;
}

std::string ok(const std::string& body) {
  return "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

const std::string version_json =
    R"({"Platform":{"Name":""},"Version":"20.10.24+dfsg1","ApiVersion":"1.41","MinAPIVersion":"1.12","Os":"linux","Arch":"amd64"})"
    "\n";

asio::awaitable<std::string> events_of(std::string answer, std::optional<test::Chop> chop) {
  auto ends = MemoryStream::pair(co_await asio::this_coro::executor, 4 << 20);
  std::unique_ptr<ByteStream> ours = std::move(ends.first);
  if (chop) ours = test::choppy(std::move(ours), *chop);
  co_await ends.second->write(answer);
  co_await ends.second->shutdown_write();
  std::string all;
  try {
    auto events = co_await EventStream::open(std::move(ours), R"({"type":["network"]})", {});
    while (const auto event = co_await events->next()) {
      all += event->type + " " + event->action + " " + event->id;
      if (event->time.count() != 0) all += " at " + std::to_string(event->time.count());
      all += "\n";
    }
  } catch (const Error& error) {
    all += one_line(error);
  }
  co_return all;
}

std::string events(const std::string& answer) {
  const std::string whole = test::run(events_of(answer, {}));
  EXPECT_EQ(whole, test::run(events_of(answer, test::Chop{1, 1}))) << "it depends on how the stream is cut into pieces";
  return whole;
}

std::string chunk(const std::string& text) { return fmt::format("{:x}\r\n{}\r\n", text.size(), text); }

TEST(Api, ReadsEventsAcrossAndWithinChunks) {
  const std::string head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
  const std::string start = R"({"Type":"container","Action":"start","Actor":{"ID":"abc","Attributes":{}},"time":1})"
                            "\n";
  const std::string die = R"({"Type":"container","Action":"die","Actor":{"ID":"abc"},"timeNano":1700000000000000001})"
                          "\n";
  EXPECT_EQ(events(head + chunk(start + die.substr(0, 9)) + chunk(die.substr(9)) + chunk("{}\n") + "0\r\n\r\n"),
            "container start abc\ncontainer die abc at 1700000000000000001\n  \n");
  EXPECT_EQ(events(head + chunk(start)), "container start abc\n");  // the engine was killed
}

TEST(Api, TellsWhyThereAreNoEvents) {
  EXPECT_EQ(events("HTTP/1.1 400 Bad Request\r\nContent-Length: 20\r\n\r\n{\"message\":\"oh, no\"}"),
            "the Docker engine answered GET /events with status 400: oh, no");
  EXPECT_EQ(events("SSH-2.0-x"), "the answer to GET /events is not a Docker engine's: it is no HTTP");
  EXPECT_EQ(events(""), "the Docker engine closed the connection without an answer to GET /events");
}

TEST(Api, AsksAsHttpDoes) {
  EXPECT_EQ(test::run(talk(Kind::ping, ok("OK"), After::stays_open, {})).request,
            "GET /_ping HTTP/1.1\r\nHost: docker\r\nUser-Agent: colima-like\r\nAccept: */*\r\n\r\n");
}

TEST(Api, PingsAnEngineThatKeepsTheConnectionOpen) { EXPECT_EQ(result(Kind::ping, ok("OK")), "OK"); }

TEST(Api, ReadsTheVersion) { EXPECT_EQ(result(Kind::version, ok(version_json)), "20.10.24+dfsg1 1.41 linux amd64"); }

TEST(Api, ReadsChunkedAnswersAndThoseThatEndWithTheConnection) {
  EXPECT_EQ(result(Kind::ping, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nO\r\n1\r\nK\r\n0\r\n\r\n"),
            "OK");
  EXPECT_EQ(result(Kind::ping, "HTTP/1.0 200 OK\r\n\r\nOK", After::closes), "OK");
}

asio::awaitable<std::string> two_requests() {
  auto ends = MemoryStream::pair(co_await asio::this_coro::executor);
  co_await ends.second->write(ok("OK"));
  co_await ping(*ends.first);
  co_await ends.second->write(ok(version_json));
  const Version found = co_await version(*ends.first);
  co_return found.version;
}

TEST(Api, UsesOneStreamForSeveralRequests) { EXPECT_EQ(test::run(two_requests()), "20.10.24+dfsg1"); }

TEST(Api, PassesOnTheEnginesOwnErrorText) {
  EXPECT_EQ(result(Kind::ping, "HTTP/1.1 500 Oops\r\nContent-Length: 28\r\n\r\n{\"message\":\"the disk broke\"}"),
            "guest_failed: the Docker engine answered GET /_ping with status 500: the disk broke");
  EXPECT_EQ(result(Kind::ping, "HTTP/1.1 404 No\r\nContent-Length: 9\r\n\r\nnot\r\nhere"),
            "guest_failed: the Docker engine answered GET /_ping with status 404: not  here");
}

TEST(Api, SaysWhenTheEngineClosesWithoutAnAnswer) {
  EXPECT_EQ(result(Kind::ping, "", After::closes),
            "guest_failed: the Docker engine closed the connection without an answer to GET /_ping");
}

TEST(Api, RefusesNonsense) {
  const std::string begin = "protocol: the answer to GET /_ping is not a Docker engine's: ";
  EXPECT_EQ(result(Kind::ping, "SSH-2.0-OpenSSH_9.2\r\n"), begin + "it is no HTTP");
  EXPECT_EQ(result(Kind::ping, "HTTP/1.1 yes\r\n\r\n").substr(0, begin.size()), begin);
  EXPECT_EQ(result(Kind::ping, "HTTP/1.1 200 OK\r\nContent-Le", After::closes), begin + "it ends in the middle");
  EXPECT_EQ(result(Kind::ping, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nOK", After::closes),
            begin + "it ends in the middle");
  EXPECT_EQ(result(Kind::ping, ok("NO")), begin + "it says 'NO'");
}

TEST(Api, RefusesAnAnswerThatIsTooLarge) {
  EXPECT_NE(result(Kind::ping, "HTTP/1.1 200 OK\r\nX: " + std::string(20000, 'a') + "\r\n\r\n").find("protocol:"),
            std::string::npos);
  EXPECT_NE(result(Kind::ping, "HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n").find("protocol:"),
            std::string::npos);
}

asio::awaitable<std::string> list_of(std::string body) {
  auto ends = MemoryStream::pair(co_await asio::this_coro::executor, 16 << 20);
  co_await ends.second->write(ok(body));
  try {
    const auto list = co_await running_containers(*ends.first);
    co_return "list of " + std::to_string(list.size());
  } catch (const Error& error) {
    co_return one_line(error);
  }
}

TEST(Api, TakesNoListThatIsManyTimesItsTextInMemory) {
  const std::string one = R"({"Id":"0123456789abcdef","Ports":[{"IP":"0.0.0.0","PrivatePort":80,"PublicPort":8080}]})";
  std::string sound = "[" + one, hostile = "[[]";
  while (sound.size() < 6'000'000) sound += "," + one;
  while (hostile.size() < 6'000'000) hostile += ",[]";
  EXPECT_TRUE(test::run(list_of(sound + "]")).starts_with("list of ")) << test::run(list_of(sound + "]"));
  const std::string refused = test::run(list_of(hostile + "]"));
  EXPECT_NE(refused.find("memory"), std::string::npos) << refused;
  EXPECT_NE(test::run(list_of("[\"" + std::string(9'000'000, 'a') + "\"]")).find("body limit"), std::string::npos);
}

TEST(Api, RefusesAVersionThatIsNone) {
  const std::string begin = "protocol: the answer to GET /version is not a Docker engine's: ";
  EXPECT_EQ(result(Kind::version, ok("[]")), begin + "it is no JSON object");
  EXPECT_EQ(result(Kind::version, ok("{\"Version\":1}")), begin + "it lacks Version");
  EXPECT_EQ(result(Kind::version, ok("{\"Version\":\"1\"}")), begin + "it lacks ApiVersion");
  EXPECT_EQ(result(Kind::version, ok("{")).substr(0, begin.size()), begin);
  EXPECT_EQ(result(Kind::version, ok(std::string(1000, '['))).substr(0, begin.size()), begin);
}

asio::awaitable<Talk> look_for(std::string name, std::string answer) {
  auto ends = MemoryStream::pair(co_await asio::this_coro::executor, 4 << 20);
  co_await ends.second->write(answer);
  Talk done;
  try {
    const auto found = co_await container(*ends.first, std::move(name));
    done.result = found ? "found" : "nothing";
  } catch (const Error& error) {
    done.result = to_string(error.code());
  }
  ends.first->close();
  done.request = co_await test::read_to_end(*ends.second);
  co_return done;
}

TEST(Inspect, TellsWhatIsNotThereFromWhatFails) {
  EXPECT_EQ(test::run(look_for("web", ok(R"({"Id": "abc"})"))).result, "found");
  EXPECT_EQ(test::run(look_for("web", ok("[]"))).result, "protocol");
  const std::string body = R"({"message": "no such container"})";
  auto answer = [&body](const std::string& status) {
    return "HTTP/1.1 " + status + "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  };
  EXPECT_EQ(test::run(look_for("web", answer("404 Not Found"))).result, "nothing");
  EXPECT_EQ(test::run(look_for("web", answer("500 Internal Server Error"))).result, "guest_failed");
}

TEST(Inspect, NoNameLeavesThePath) {
  const std::string request = test::run(look_for("a b?c#d\r\nX: y", ok("{}"))).request;
  EXPECT_TRUE(request.starts_with("GET /containers/a%20b%3Fc%23d%0D%0AX:%20y/json HTTP/1.1\r\n")) << request;
}

}  // namespace
}  // namespace cl::docker
