#include "src/rpc/connection.hpp"

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/write.hpp>
#include <boost/json/serialize.hpp>

#include "src/base/file.hpp"
#include "src/rpc/server.hpp"
#include "tests/support/run.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl::rpc {
namespace {

using namespace std::chrono_literals;

/// A forced stop fails; exec does what its command says; anything else tells its verb.
asio::awaitable<void> answer(Connection& connection, Request request) {
  Progress progress{"p", "working", false, {}};
  if (const auto* stop = std::get_if<Stop>(&request); stop != nullptr && stop->force) throw Error(Errc::busy, "no");
  if (const auto* exec = std::get_if<Exec>(&request)) {
    if (exec->command == "system_error") throw boost::system::system_error(asio::error::broken_pipe);
    if (exec->command == "filesystem_error") fs::create_directory("/proc/no/such");
    if (exec->command == "bad_alloc") throw std::bad_alloc();
    if (exec->command == "out_of_range") json::object().at("cold");
    if (exec->command == "number") throw 42;
    if (exec->command == "silence") co_return;
    if (exec->command == "progress, then failure") {
      co_await connection.answer(std::move(progress));
      throw std::runtime_error("odd");
    }
    if (exec->command == "result, then failure") {
      json::object result{{"verb", "exec"}};
      co_await connection.answer(std::move(result));
      throw std::runtime_error("odd");
    }
    if (exec->command == "twice") {
      json::object result{{"verb", "exec"}}, again;
      co_await connection.answer(std::move(result));
      co_await connection.answer(std::move(again));
    }
    if (exec->command == "for ever") {
      co_await connection.answer(std::move(progress));
      Event never(co_await asio::this_coro::executor);
      co_await never.wait();
    }
  }
  co_await connection.answer(std::move(progress));
  json::object result{{"verb", verb_of(request)}};
  co_await connection.answer(std::move(result));
}

/// Everything that the daemon still says, up to its end.
asio::awaitable<std::vector<std::string>> lines_until_end(Connection& connection) {
  std::vector<std::string> lines;
  for (;;) {
    auto line = co_await connection.read_line();
    if (!line) co_return lines;
    lines.push_back(std::move(*line));
  }
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
      Watcher watcher;
      watcher.on_progress = [this](const Progress&) { ++progress_lines_; };
      watcher.on_note = [this](const std::string& note) { note_ = note; };
      const json::object result = co_await await_answer(*connection, std::move(watcher));
      said = result.at("verb").as_string();
    } catch (const Error& error) {
      said = error.what();
    }
    connection->close();
    co_await server.stop();
    co_return said;
  }

  /// Sends raw bytes, closes that direction if wanted, and returns all lines that come until the daemon hangs up.
  asio::awaitable<std::vector<std::string>> converse(std::string bytes, bool end) {
    auto executor = co_await asio::this_coro::executor;
    ServerLimits limits;
    limits.first_request = 200ms;
    Server server(executor, lock_, path_, &answer, limits);
    Socket socket(executor);
    socket.connect(path_.string());
    co_await asio::async_write(socket, asio::buffer(bytes), no_throw);
    error_code ignored;
    if (end) socket.shutdown(Socket::shutdown_send, ignored);
    Connection client(std::move(socket));
    auto lines = co_await lines_until_end(client);
    client.close();
    co_await server.stop();
    co_return lines;
  }
  /// The codes of the answers ("result" for a result) to raw bytes, behind the greeting.
  std::vector<std::string> answers_to(std::string bytes, bool end = false) {
    std::vector<std::string> codes;
    for (const std::string& line : test::run(converse(std::move(bytes), end))) {
      if (line == greeting) continue;
      const Answer answer = decode_answer(line);
      if (std::holds_alternative<json::object>(answer.body)) codes.emplace_back("result");
      if (const auto* error = std::get_if<Error>(&answer.body)) codes.emplace_back(to_string(error->code()));
    }
    return codes;
  }
  static std::string exec(std::string command) {
    Exec request;
    request.command = std::move(command);
    return encode(Request(request)) + "\n";
  }

  test::TempDir directory_;
  fs::path path_ = directory_ / "s.sock";
  FileLock lock_ = *FileLock::try_acquire(directory_ / "lock");
  int progress_lines_ = 0;
  std::string note_;
};

using Codes = std::vector<std::string>;

TEST_F(ControlSocket, CarriesProgressAndAResult) {
  EXPECT_EQ(test::run(ask(encode(Request(Start{})))), "start");
  EXPECT_EQ(progress_lines_, 1);
  EXPECT_EQ(note_, "");
}

TEST_F(ControlSocket, CarriesTheHandlersError) {
  Stop stop;
  stop.force = true;
  EXPECT_EQ(test::run(ask(encode(Request(stop)))), "no");
}

TEST_F(ControlSocket, AnswersNonsenseWithAnError) {
  EXPECT_NE(test::run(ask("nonsense")).find("cannot be understood"), std::string::npos);
}

TEST_F(ControlSocket, GivesExactlyOneAnswerWhateverIsThrown) {
  EXPECT_EQ(answers_to(exec("fine")), Codes{"result"});
  EXPECT_EQ(answers_to(exec("system_error")), Codes{"io"});
  EXPECT_EQ(answers_to(exec("filesystem_error")), Codes{"io"});
  for (const char* command : {"bad_alloc", "out_of_range", "number", "silence", "progress, then failure"})
    EXPECT_EQ(answers_to(exec(command)), Codes{"internal"}) << command;
  EXPECT_EQ(answers_to(exec("result, then failure")), Codes{"result"});
  EXPECT_EQ(answers_to(exec("twice")), Codes{"result"});
}

TEST_F(ControlSocket, GivesExactlyOneAnswerToWhatIsNoRequest) {
  for (const char* line : {"\n", "{}\n", "[]\n", "nonsense\n", "{\"verb\":\"exec\"}\n", "{\"verb\":\"dance\"}\n"})
    EXPECT_EQ(answers_to(line), Codes{"protocol"}) << line;
  EXPECT_EQ(answers_to("{\"verb\":\"sto", true), Codes{"protocol"}) << "half a line, and its end";
  EXPECT_EQ(answers_to("{\"verb\":\"sto"), Codes{"timed_out"}) << "half a line, and silence";
  EXPECT_EQ(answers_to(""), Codes{"timed_out"}) << "silence";
  EXPECT_EQ(answers_to("", true), Codes{}) << "nobody asked for anything";
}

TEST_F(ControlSocket, RefusesALineWithoutAnEnd) {
  EXPECT_EQ(answers_to(std::string(max_line + 1, 'x')), Codes{"protocol"});
  EXPECT_EQ(answers_to(std::string(16 * max_line, 'x')), Codes{"protocol"}) << "also of who goes on writing";
}

TEST_F(ControlSocket, ReadsNoMoreThanItsRequestFromWhoFloods) {
  std::string flood = exec("fine");
  for (int i = 0; i < 10'000; ++i) flood += "{\"verb\":\"stop\"}\n";
  EXPECT_EQ(answers_to(std::move(flood)), Codes{"result"});
}

TEST_F(ControlSocket, ServesARequestWhileManyConnectAndSayNothing) {
  auto work = [this]() -> asio::awaitable<std::size_t> {
    auto executor = co_await asio::this_coro::executor;
    ServerLimits limits;
    limits.silent = 4;
    Server server(executor, lock_, path_, &answer, limits);
    std::vector<Socket> silent;
    for (int i = 0; i < 40; ++i) silent.emplace_back(executor).connect(path_.string());
    auto client = co_await connect(path_);
    const Request request = Start{};
    co_await client->write_line(encode(request));
    const json::object result = co_await await_answer(*client, {});
    EXPECT_EQ(result.at("verb").as_string(), "start");
    client->close();
    while (server.connections() > limits.silent) co_await sleep_for(1ms);
    const std::size_t left = server.connections();
    co_await server.stop();
    co_return left;
  };
  EXPECT_LE(test::run(work()), 4U);
}

TEST_F(ControlSocket, TellsWhoWaitsThatTheDaemonEnds) {
  auto work = [this]() -> asio::awaitable<std::vector<std::string>> {
    auto executor = co_await asio::this_coro::executor;
    Server server(executor, lock_, path_, &answer);
    auto client = co_await connect(path_);
    std::string request = exec("for ever");
    request.pop_back();
    co_await client->write_line(std::move(request));
    co_await client->read_line();  // its progress: the handler is under way
    co_await server.stop();
    auto lines = co_await lines_until_end(*client);
    co_return lines;
  };
  const auto lines = test::run(work());
  ASSERT_EQ(lines.size(), 1U);
  const Answer told = decode_answer(lines[0]);
  ASSERT_TRUE(std::holds_alternative<Error>(told.body));
  EXPECT_STREQ(std::get<Error>(told.body).what(), "the daemon ended while 'exec' was under way");
}

TEST_F(ControlSocket, TellsWhatOfARequestItDoesNotKnow) {
  EXPECT_EQ(test::run(ask(R"({"verb":"start","arguments":{"colour":"red"},"version":"9"})")), "start");
  EXPECT_NE(note_.find("does not know 'colour'"), std::string::npos) << note_;
  EXPECT_NE(note_.find("of version " + std::string(program_version())), std::string::npos) << note_;
}

/// A daemon that says these lines to whoever connects, and then hangs up once it was asked; returns how the command
/// line takes that.
asio::awaitable<std::string> talk_to(fs::path path, std::vector<std::string> lines) {
  auto executor = co_await asio::this_coro::executor;
  asio::local::stream_protocol::acceptor acceptor(executor, {path.string()});
  auto say = [](auto& listening, std::vector<std::string> all) -> asio::awaitable<void> {
    auto socket = co_await listening.async_accept(asio::use_awaitable);
    Connection connection(std::move(socket));
    for (std::string& line : all) co_await connection.write_line(std::move(line));
    co_await connection.read_line();
  };
  TaskGroup tasks(executor);
  tasks.spawn("daemon", say(acceptor, std::move(lines)));
  std::string said;
  try {
    auto client = co_await connect(path, 200ms);
    if (!client) co_return "nobody";
    const Request request = Stop{};
    co_await client->write_line(encode(request));
    const json::object result = co_await await_answer(*client, {});
    said = json::serialize(result);
  } catch (const Error& error) {
    said = std::string(to_string(error.code())) + ": " + one_line(error);
  }
  co_await tasks.stop();
  co_return said;
}

TEST_F(ControlSocket, OfAnOlderOrNewerDaemonIsUnderstood) {
  EXPECT_EQ(test::run(talk_to(directory_ / "a", {"colima-like", R"({"result":{}})"})), "{}");
  EXPECT_EQ(test::run(talk_to(directory_ / "b", {"colima-like 9.9.9", R"({"result":{"x":1},"version":"9.9.9"})"})),
            R"({"x":1})");
  EXPECT_TRUE(test::run(talk_to(directory_ / "c", {"colima-likes", "{}"})).starts_with("protocol: what listens at"));
  const std::string old = test::run(
      talk_to(directory_ / "d", {"colima-like", R"({"error":{"code":"protocol","what":"it does not know 'stop'"}})"}));
  EXPECT_EQ(old, "protocol: it does not know 'stop': the daemon is older than this program, which is of version " +
                     std::string(program_version()));
}

TEST_F(ControlSocket, OfADaemonThatHangsIsGivenUp) {
  EXPECT_TRUE(test::run(talk_to(directory_ / "a", {})).starts_with("timed_out: the daemon that listens at"));
}

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

TEST_F(ControlSocket, IsMadeAgainWhenItsFolderIsRemoved) {
  const std::filesystem::path folder = directory_ / "run", path = folder / "daemon.sock";
  make_private_directory(folder);
  auto work = [&]() -> asio::awaitable<std::string> {
    ServerLimits limits;
    limits.look_again = 10ms;
    Server server(co_await asio::this_coro::executor, lock_, path, &answer, limits);
    for (int round = 0; round < 2; ++round) {
      fs::remove_all(folder);
      while (!fs::exists(path)) co_await sleep_for(1ms);
    }
    auto connection = co_await connect(path);
    EXPECT_TRUE(connection);
    std::string said;
    if (connection) {
      co_await connection->write_line(encode(Apply{}));
      const json::object result = co_await await_answer(*connection, {});
      said = result.at("verb").as_string();
      connection->close();
    }
    co_await server.stop();
    co_return said;
  };
  EXPECT_EQ(test::run(work()), "apply");
}

TEST_F(ControlSocket, ReplacesASocketThatADeadDaemonLeft) {
  asio::io_context io;
  asio::local::stream_protocol::acceptor(io, {path_.string()}).close();
  ASSERT_TRUE(fs::is_socket(path_));
  EXPECT_EQ(test::run(ask(encode(Request(Start{})))), "start");
}

TEST_F(ControlSocket, LeavesAloneWhatIsNoSocket) {
  const auto why_not = [this](const fs::path& path) {
    asio::io_context io;
    try {
      const Server server(io.get_executor(), lock_, path, &answer);
    } catch (const Error& error) {
      return std::string(to_string(error.code())) + ": " + one_line(error) + "; " + error.remedy();
    }
    return std::string("created");
  };
  const std::string begin = "io: cannot create the control socket ";
  write_atomically(path_, "somebody's");
  EXPECT_EQ(why_not(path_),
            begin + path_.string() + ": a file is in its place; move it away: colima-like did not make it");
  EXPECT_EQ(read_file(path_), "somebody's");
  fs::remove(path_);
  fs::create_directory(path_);
  EXPECT_EQ(why_not(path_),
            begin + path_.string() + ": a folder is in its place; move it away: colima-like did not make it");
  const fs::path no_folder = directory_ / "no" / "s.sock";
  EXPECT_TRUE(why_not(no_folder).starts_with(begin + no_folder.string() + ": No such file")) << why_not(no_folder);
  const fs::path too_long = directory_ / std::string(200, 'x');
  EXPECT_TRUE(why_not(too_long).starts_with(begin + too_long.string() + ": ")) << why_not(too_long);
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
    const Request request = Start{};
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
