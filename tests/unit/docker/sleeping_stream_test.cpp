#include "docker/sleeping_stream.hpp"

#include <gtest/gtest.h>

#include "tests/fakes/choppy_stream.hpp"
#include "tests/support/run.hpp"

namespace cl::test {
namespace {

const std::string pong = "HTTP/1.1 200 OK\r\nApi-Version: 1.50\r\nContent-Length: 0\r\n\r\n";

/// What the client gets for what it sends, `at_once` bytes at a time, and what an engine was sent: "client|engine".
asio::awaitable<std::string> talk(std::string calls, std::size_t at_once, SleepingStream::Greetings greetings,
                                  bool wakes = true, bool sleeps = true) {
  auto executor = co_await asio::this_coro::executor;
  auto ends = MemoryStream::pair(executor);
  std::unique_ptr<MemoryStream> engine = std::move(ends.second);
  std::unique_ptr<ByteStream> ours = std::move(ends.first);
  auto open = [&]() -> asio::awaitable<std::unique_ptr<ByteStream>> {
    if (!wakes) throw Error(Errc::guest_failed, "the machine cannot be resumed", "colima-like start");
    co_return std::move(ours);
  };
  auto still = [sleeps] { return sleeps; };
  SleepingStream stream(executor, open, still, std::move(greetings));
  for (std::size_t at = 0; at < calls.size(); at += at_once) {
    const std::string part = calls.substr(at, at_once);
    co_await stream.write(part);
  }
  std::array<char, 1000> space;
  std::string told;
  if (!ours && wakes) {  // it was woken
    const std::size_t sent = co_await engine->read_some(space);
    told.assign(space.data(), sent);
    co_await engine->write(std::string_view("HTTP/1.1 201 Created\r\n\r\n"));
    co_await engine->shutdown_write();
  } else {
    co_await stream.shutdown_write();
  }
  std::string got;
  for (;;) {
    const std::size_t count = co_await stream.read_some(space);
    if (count == 0) break;
    got.append(space.data(), count);
  }
  co_return got + "|" + told;
}

const std::string ping = "HEAD /_ping HTTP/1.1\r\nHost: x\r\n\r\n",
                  list = "GET /v1.50/containers/json?all=1 HTTP/1.1\r\n\r\n";
const std::string create = "POST /v1.50/containers/create HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}";

TEST(SleepingStream, AnswersAPingAsTheEngineDid) {
  for (const std::size_t at_once : {1, 1000})
    EXPECT_EQ(run(talk(ping + ping, at_once, {{"HEAD /_ping", pong}})), pong + pong + "|");
}

TEST(SleepingStream, TellsWhoOnlyLooksThatTheMachineSleeps) {
  for (const std::size_t at_once : {1, 1000}) {
    const std::string got = run(talk(ping + list, at_once, {{"HEAD /_ping", pong}}));
    EXPECT_TRUE(got.starts_with(pong + "HTTP/1.1 503 Service Unavailable\r\n")) << got;
    EXPECT_NE(got.find("the machine sleeps, and who only looks does not wake it"), std::string::npos) << got;
    EXPECT_TRUE(got.ends_with("}\n|")) << got;
  }
}

TEST(SleepingStream, WakesTheEngineForAnyOtherCallWhichArrivesWhole) {
  for (const std::size_t at_once : {1, 1000}) {
    const std::string got = run(talk(ping + create, at_once, {{"HEAD /_ping", pong}}));
    EXPECT_EQ(got, pong + "HTTP/1.1 201 Created\r\n\r\n|" +
                       create.substr(0, at_once == 1 ? create.find("{}") : create.size()) + (at_once == 1 ? "{}" : ""));
  }
  const std::string nonsense = "PRI * HTTP/2.0\r\n\r\n";
  EXPECT_EQ(run(talk(nonsense, 1000, {{"HEAD /_ping", pong}})), "HTTP/1.1 201 Created\r\n\r\n|" + nonsense);
}

TEST(SleepingStream, WakesTheEngineForWhoLooksAtOneThingSinceWorkBeginsSo) {
  const std::string inspect = "GET /v1.50/containers/web/json HTTP/1.1\r\n\r\n";
  EXPECT_EQ(run(talk(ping + inspect, 1000, {{"HEAD /_ping", pong}})), pong + "HTTP/1.1 201 Created\r\n\r\n|" + inspect);
}

TEST(SleepingStream, WakesItForAPingWhoseAnswerIsNotKnown) {
  EXPECT_EQ(run(talk(ping, 1000, {})), "HTTP/1.1 201 Created\r\n\r\n|" + ping);
}

TEST(SleepingStream, GivesEveryCallToAnEngineThatIsAwakeByNow) {
  const std::string call = "GET /v1.50/containers/json HTTP/1.1\r\n\r\n";
  EXPECT_EQ(run(talk(call, 1000, {}, true, false)), "HTTP/1.1 201 Created\r\n\r\n|" + call);
}

TEST(SleepingStream, SaysWhyTheMachineDoesNotWake) {
  const std::string got = run(talk(create, 1000, {}, false));
  EXPECT_TRUE(got.starts_with("HTTP/1.1 503 ")) << got;
  EXPECT_NE(got.find("the machine cannot be resumed. colima-like start"), std::string::npos) << got;
}

}  // namespace
}  // namespace cl::test
