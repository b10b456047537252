#include "docker/gated_stream.hpp"

#include <gtest/gtest.h>

#include "src/base/task_group.hpp"
#include "tests/fakes/choppy_stream.hpp"
#include "tests/support/run.hpp"

namespace cl::test {
namespace {

/// client -> gated -> engine
struct Bed {
  explicit Bed(asio::any_io_executor executor) : may_start(executor), may_answer(executor) {
    auto ends = MemoryStream::pair(executor);
    engine = std::move(ends.second);
    auto gates = std::make_shared<GatedStream::Gates>();
    gates->reconciled = [this]() -> asio::awaitable<void> {
      ++asked;
      co_await may_answer.wait();
    };
    gates->starts = [this]() -> asio::awaitable<void> {
      ++starting;
      if (wait_to_start) co_await may_start.wait();
    };
    gates->taken = [this](std::string container) -> asio::awaitable<std::string> {
      asked_for = container;
      co_return taken;
    };
    gates->check = [this](std::string body) -> asio::awaitable<void> {
      checked += body + "|";
      if (body.find("bad") != std::string::npos) throw Error(Errc::invalid_config, "no", "say please");
      co_return;
    };
    gates->use = use;
    gates->greeted = [this](std::string call, std::string answer) { greeted += call + ":" + answer; };
    gated = std::make_unique<GatedStream>(std::move(ends.first), gates);
  }
  Event may_start, may_answer;
  bool wait_to_start = false;
  int starting = 0;
  int asked = 0;
  std::string asked_for, taken;
  std::string checked, greeted;
  std::shared_ptr<ClientUse> use = std::make_shared<ClientUse>();
  std::unique_ptr<MemoryStream> engine;
  std::unique_ptr<GatedStream> gated;
};

asio::awaitable<void> read_into(ByteStream& stream, std::string& into) {
  std::array<char, 1000> space;
  const std::size_t got = co_await stream.read_some(space);
  into.assign(space.data(), got);
}

asio::awaitable<std::string> start_is_held(std::string call) {
  auto executor = co_await asio::this_coro::executor;
  Bed bed(executor);
  const std::string answer = "HTTP/1.1 204 No Content\r\n\r\n";
  co_await bed.gated->write(std::string_view("GET /a HTTP/1.1\r\n\r\n"));
  co_await bed.engine->write(answer);
  std::string got;
  co_await read_into(*bed.gated, got);
  if (got != answer || bed.asked != 0) co_return "the answer to another call is held back";
  for (const char c : call) co_await bed.gated->write(std::span(&c, 1));
  co_await bed.engine->write(answer);
  TaskGroup reader(executor);
  got.clear();
  reader.spawn("reader", read_into(*bed.gated, got));
  for (int i = 0; i < 20; ++i) co_await asio::post(executor, asio::use_awaitable);
  if (bed.asked != 1) co_return "reconciled was asked for " + std::to_string(bed.asked) + " times";
  if (!got.empty()) co_return "the answer came before the ports were reconciled";
  bed.may_answer.set();
  for (int i = 0; i < 20; ++i) co_await asio::post(executor, asio::use_awaitable);
  const bool came = got == answer;
  co_await reader.stop();
  co_return came ? "held" : "the answer is lost: " + got;
}

TEST(GatedStream, HoldsTheAnswerToAStartUntilThePortsAreSettled) {
  EXPECT_EQ(run(start_is_held("POST /v1.47/containers/web/start HTTP/1.1\r\nContent-Length: 0\r\n\r\n")), "held");
  EXPECT_EQ(run(start_is_held("POST /containers/web/restart?t=1 HTTP/1.1\r\n\r\n")), "held");
  EXPECT_EQ(run(start_is_held("POST /networks/net/connect HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")), "held");
  EXPECT_EQ(run(start_is_held("POST /containers/web/stop HTTP/1.1\r\n\r\n")), "reconciled was asked for 0 times");
}

asio::awaitable<void> write_into(ByteStream& stream, std::string bytes) { co_await stream.write(bytes); }

asio::awaitable<std::string> start_waits(std::string call) {
  auto executor = co_await asio::this_coro::executor;
  Bed bed(executor);
  bed.wait_to_start = true;
  TaskGroup tasks(executor);
  std::string got;
  tasks.spawn("client", write_into(*bed.gated, call));
  tasks.spawn("engine", read_into(*bed.engine, got));
  for (int i = 0; i < 20; ++i) co_await asio::post(executor, asio::use_awaitable);
  std::string said = std::to_string(bed.starting) + (got.empty() ? " and waits" : " and goes on");
  bed.may_start.set();
  for (int i = 0; i < 20; ++i) co_await asio::post(executor, asio::use_awaitable);
  co_await tasks.stop();
  co_return said + (got == call ? "" : ", lost: " + got);
}

TEST(GatedStream, HoldsACallThatStartsAContainerUntilWhatItMountsIsThere) {
  EXPECT_EQ(run(start_waits("POST /v1.47/containers/web/start HTTP/1.1\r\nContent-Length: 0\r\n\r\n")), "1 and waits");
  EXPECT_EQ(run(start_waits("POST /containers/web/restart?t=1 HTTP/1.1\r\n\r\n")), "1 and waits");
  EXPECT_EQ(run(start_waits("POST /containers/web/stop HTTP/1.1\r\n\r\n")), "0 and goes on");
  EXPECT_EQ(run(start_waits("POST /networks/net/connect HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")), "0 and goes on");
}

/// What the client gets for its call, and for which container it was asked whether its port is taken.
asio::awaitable<std::string> start_of_a_taken_port(std::string call, std::string answer) {
  Bed bed(co_await asio::this_coro::executor);
  bed.may_answer.set();
  bed.taken = "Bind failed";
  co_await bed.gated->write(call);
  co_await bed.engine->write(answer);
  std::string got;
  co_await read_into(*bed.gated, got);
  co_return bed.asked_for + "|" + got;
}

TEST(GatedStream, AnswersAStartWhosePortIsTakenItself) {
  const std::string start = "POST /v1.47/containers/web/start HTTP/1.1\r\nContent-Length: 0\r\n\r\n";
  const std::string refused = run(start_of_a_taken_port(start, "HTTP/1.1 204 No Content\r\n\r\n"));
  EXPECT_TRUE(refused.starts_with("web|HTTP/1.1 500 Internal Server Error\r\n")) << refused;
  EXPECT_TRUE(refused.ends_with(
      "{\"message\":\"driver failed programming external connectivity on endpoint web: Bind failed\"}\n"))
      << refused;
  const std::string fails = "HTTP/1.1 404 Not Found\r\n\r\n", runs = "HTTP/1.1 304 Not Modified\r\n\r\n";
  EXPECT_EQ(run(start_of_a_taken_port(start, fails)), "|" + fails) << "the engine's own error comes first";
  EXPECT_EQ(run(start_of_a_taken_port(start, runs)), "|" + runs) << "one that runs already goes on";
  const std::string connect = "POST /networks/net/connect HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}";
  const std::string ok = "HTTP/1.1 200 OK\r\n\r\n";
  EXPECT_EQ(run(start_of_a_taken_port(connect, ok)), "|" + ok);
}

/// The last request, and whether the client has done more than look.
asio::awaitable<std::string> use_of(std::string calls) {
  Bed bed(co_await asio::this_coro::executor);
  co_await bed.gated->write(calls);
  if (bed.use->last == ClientUse::Clock::time_point{}) co_return "never";
  co_return bed.use->request + (bed.use->works ? " works" : " looks");
}

TEST(GatedStream, KeepsAccountOfWhatItsClientDoes) {
  const std::string list = "GET /v1.47/containers/json?all=1 HTTP/1.1\r\n\r\n";
  EXPECT_EQ(run(use_of(list)), "GET /containers/json looks");
  EXPECT_EQ(run(use_of("POST /containers/prune HTTP/1.1\r\n\r\n" + list)), "GET /containers/json works");
  EXPECT_EQ(run(use_of("POST /containers/web/attach HTTP/1.1\r\nUpgrade: tcp\r\n\r\n")),
            "POST /containers/web/attach works");
  EXPECT_EQ(run(use_of("PRI * HTTP/2.0\r\n\r\n")), " works");
}

asio::awaitable<std::string> greeting_of(std::string call, std::string answer) {
  Bed bed(co_await asio::this_coro::executor);
  co_await bed.gated->write(call);
  co_await bed.engine->write(answer);
  std::string got;
  co_await read_into(*bed.gated, got);
  co_return got == answer ? bed.greeted : "changed";
}

TEST(GatedStream, TellsWhatTheEngineSaysToWhoBegins) {
  const std::string none = "HTTP/1.1 200 OK\r\nApi-Version: 1.50\r\nContent-Length: 0\r\n\r\n";
  const std::string two = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nServer: x\r\n\r\n";
  EXPECT_EQ(run(greeting_of("HEAD /_ping HTTP/1.1\r\n\r\n", none)), "HEAD /_ping:" + none);
  EXPECT_EQ(run(greeting_of("GET /v1.47/_ping HTTP/1.1\r\n\r\n", two + "OK")), "GET /_ping:" + two + "OK");
  EXPECT_EQ(run(greeting_of("GET /version HTTP/1.1\r\n\r\n", two + "{}")), "GET /version:" + two + "{}");
  EXPECT_EQ(run(greeting_of("GET /_ping HTTP/1.1\r\n\r\n", two + "O")), "") << "half of it";
  EXPECT_EQ(run(greeting_of("HEAD /_ping HTTP/1.1\r\n\r\n", "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")), "");
  EXPECT_EQ(run(greeting_of("GET /info HTTP/1.1\r\n\r\n", two + "{}")), "");
}

struct Created {
  std::string engine, client, checked;
};

asio::awaitable<Created> create(std::string request, std::size_t at_once) {
  auto executor = co_await asio::this_coro::executor;
  Bed bed(executor);
  Created result;
  TaskGroup reader(executor);
  reader.spawn("reader", read_into(*bed.gated, result.client));
  for (std::size_t at = 0; at < request.size(); at += at_once) {
    const std::string part = request.substr(at, at_once);
    co_await bed.gated->write(part);
  }
  for (int i = 0; i < 20; ++i) co_await asio::post(executor, asio::use_awaitable);
  co_await reader.stop();
  bed.gated->close();
  result.engine = co_await read_to_end(*bed.engine);
  result.checked = bed.checked;
  co_return result;
}

const std::string head = "POST /v1.47/containers/create?name=x HTTP/1.1\r\nHost: d\r\n";

TEST(GatedStream, ShowsTheWholeBodyOfACreateCallAndHandsItOnUnchanged) {
  const std::string plain = head + "Content-Length: 12\r\n\r\n{\"a\": \"good\"" + "GET /next HTTP/1.1\r\n\r\n";
  const std::string chunked =
      head + "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"a\":\r\n7\r\n \"good\"\r\n0\r\n\r\nGET /n HTTP/1.1\r\n\r\n";
  for (const std::size_t at_once : {1U, 5U, 1000U}) {
    const Created one = run(create(plain, at_once));
    EXPECT_EQ(one.engine, plain);
    EXPECT_EQ(one.checked, "{\"a\": \"good\"|");
    const Created two = run(create(chunked, at_once));
    EXPECT_EQ(two.engine, chunked);
    EXPECT_EQ(two.checked, "{\"a\": \"good\"|");
  }
}

TEST(GatedStream, AnswersARefusedCreateCallItself) {
  const std::string request = head + "Content-Length: 7\r\n\r\n{\"bad\"}" + "GET /next HTTP/1.1\r\n\r\n";
  for (const std::size_t at_once : {1U, 1000U}) {
    const Created one = run(create(request, at_once));
    EXPECT_TRUE(one.client.starts_with("HTTP/1.1 400 Bad Request\r\n")) << one.client;
    EXPECT_TRUE(one.client.ends_with("\r\n\r\n{\"message\":\"no. say please\"}\n")) << one.client;
    EXPECT_EQ(one.engine.find("bad"), std::string::npos) << one.engine;
    EXPECT_EQ(one.engine.find("next"), std::string::npos) << one.engine;
  }
}

/// What the engine gets when the client sends `calls` in pieces of `step` bytes, and every create call is rewritten.
asio::awaitable<std::string> rewritten(std::string calls, std::size_t step) {
  auto ends = MemoryStream::pair(co_await asio::this_coro::executor);
  auto gates = std::make_shared<GatedStream::Gates>();
  gates->rewrite = [](std::string_view target, const std::string& body) -> std::optional<std::string> {
    if (target != "/containers/create" || body == "{}") return std::nullopt;
    return "{\"longer\":true}";
  };
  GatedStream gated(std::move(ends.first), gates);
  for (std::string_view rest = calls; !rest.empty(); rest.remove_prefix(std::min(step, rest.size())))
    co_await gated.write(rest.substr(0, step));
  co_await gated.shutdown_write();
  std::string got;
  for (std::string part = "x"; !part.empty(); got += part) co_await read_into(*ends.second, part);
  co_return got;
}

TEST(GatedStream, GivesTheEngineAnotherBodyAndItsLength) {
  const std::string other = "GET /_ping HTTP/1.1\r\nHost: a\r\n\r\n";
  const std::string head = "POST /v1.47/containers/create HTTP/1.1\r\nHost: a\r\n";
  const std::string calls = other + head + "Content-Length: 7\r\n\r\n{\"a\":1}" + other + head +
                            "Content-Length: 2\r\n\r\n{}" +
                            "POST /exec/1/start HTTP/1.1\r\nUpgrade: tcp\r\n\r\nraw bytes";
  const std::string wanted = other + head + "Content-Length: 15\r\n\r\n{\"longer\":true}" + other + head +
                             "Content-Length: 2\r\n\r\n{}" +
                             "POST /exec/1/start HTTP/1.1\r\nUpgrade: tcp\r\n\r\nraw bytes";
  for (const std::size_t step : {1U, 7U, 1000U}) EXPECT_EQ(run(rewritten(calls, step)), wanted) << step;
}

}  // namespace
}  // namespace cl::test
