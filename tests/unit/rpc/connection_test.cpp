#include "src/rpc/connection.hpp"

#include <gtest/gtest.h>

#include "src/base/file.hpp"
#include "src/rpc/server.hpp"
#include "tests/support/run.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl::rpc {
namespace {

asio::awaitable<void> answer(Connection& connection, Request request) {
  if (request.verb == "fail") throw Error(Errc::busy, "no");
  Progress progress{"p", "working", false, {}};
  co_await connection.write_line(encode(Answer(std::move(progress))));
  json::object result{{"verb", request.verb}};
  co_await connection.write_line(encode(Answer(std::move(result))));
}

class ControlSocket : public ::testing::Test {
 protected:
  /// Sends one raw line to a server; returns how the answer begins and counts the progress lines.
  asio::awaitable<std::string> ask(std::string line) {
    auto executor = co_await asio::this_coro::executor;
    Server server(executor, lock_, path_, &answer);
    auto connection = co_await connect(path_);
    EXPECT_TRUE(connection);
    std::string said;
    std::exception_ptr failure;
    try {
      co_await connection->write_line(std::move(line));
      auto count = [this](const Progress&) { ++progress_lines_; };
      const json::object result = co_await await_answer(*connection, count);
      said = result.at("verb").as_string();
    } catch (const Error& error) {
      said = error.what();
    }
    connection->close();
    co_await server.stop();
    co_return said;
  }
  test::TempDir directory_;
  fs::path path_ = directory_ / "s.sock";
  FileLock lock_ = *FileLock::try_acquire(directory_ / "lock");
  int progress_lines_ = 0;
};

TEST_F(ControlSocket, CarriesProgressAndAResult) {
  EXPECT_EQ(test::run(ask(encode(Request{"start", {}}))), "start");
  EXPECT_EQ(progress_lines_, 1);
}

TEST_F(ControlSocket, CarriesTheHandlersError) { EXPECT_EQ(test::run(ask(encode(Request{"fail", {}}))), "no"); }

TEST_F(ControlSocket, AnswersNonsenseWithAnError) {
  EXPECT_NE(test::run(ask("nonsense")).find("cannot be understood"), std::string::npos);
}

TEST_F(ControlSocket, RefusesALineWithoutAnEnd) { EXPECT_NE(test::run(ask(std::string(2 * max_line, 'x'))), "start"); }

TEST_F(ControlSocket, IsPrivateAndGoneAfterwards) {
  auto look = [](fs::path path, FileLock& lock) -> asio::awaitable<fs::perms> {
    Server server(co_await asio::this_coro::executor, lock, path, &answer);
    const auto perms = fs::status(path).permissions();
    co_await server.stop();
    co_return perms;
  };
  EXPECT_EQ(test::run(look(path_, lock_)), fs::perms::owner_read | fs::perms::owner_write);
  EXPECT_FALSE(fs::exists(path_));
}

TEST_F(ControlSocket, ReplacesASocketThatADeadDaemonLeft) {
  write_atomically(path_, "left over");
  EXPECT_EQ(test::run(ask(encode(Request{"start", {}}))), "start");
}

TEST_F(ControlSocket, NobodyListeningIsNoConnection) {
  auto try_it = [](fs::path path) -> asio::awaitable<bool> {
    auto connection = co_await connect(path);
    co_return connection.has_value();
  };
  EXPECT_FALSE(test::run(try_it(path_)));
}

TEST_F(ControlSocket, OfADaemonThatWasJustKilledIsNoConnection) {
  auto work = [this]() -> asio::awaitable<bool> {
    auto executor = co_await asio::this_coro::executor;
    asio::local::stream_protocol::acceptor dying(executor, {path_.string()});
    auto end_soon = [](auto& acceptor) -> asio::awaitable<void> {
      co_await sleep_for(std::chrono::milliseconds(5));  // the kernel, on its way to the descriptors of who was killed
      acceptor.close();
    };
    TaskGroup tasks(executor);
    tasks.spawn("end", end_soon(dying));
    const auto connection = co_await with_timeout(std::chrono::seconds(5), "connecting", connect(path_));
    co_await tasks.stop();
    co_return connection.has_value();
  };
  EXPECT_FALSE(test::run(work()));
}

TEST_F(ControlSocket, DoesNotCloseOnSomebodyWhoHasConnected) {
  auto work = [this]() -> asio::awaitable<void> {
    auto executor = co_await asio::this_coro::executor;
    Server server(executor, lock_, path_, &answer);
    // Connected, but the server has not run since.
    asio::local::stream_protocol::socket early(executor);
    early.connect(path_.string());
    EXPECT_FALSE(server.close_if_unused());
    Connection client(std::move(early));
    EXPECT_EQ(co_await client.read_line(), greeting);
    Request request{"start", {}};
    co_await client.write_line(encode(request));
    const json::object result = co_await await_answer(client, {});
    EXPECT_EQ(result.at("verb").as_string(), "start");
    client.close();
    while (server.connections() > 0) co_await sleep_for(std::chrono::milliseconds(1));
    EXPECT_TRUE(server.close_if_unused());
    const auto late = co_await connect(path_);
    EXPECT_FALSE(late) << "nobody listens any more, and the caller knows it at once";
    co_await server.stop();
  };
  test::run(work());
}

}  // namespace
}  // namespace cl::rpc
