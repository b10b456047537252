// The QMP client against a real QEMU that has no machine: it starts in some 70 ms and speaks the whole protocol.
#include "vm/qemu/qmp_client.hpp"

#include <gtest/gtest.h>
#include <signal.h>

#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>

#include "src/base/child.hpp"
#include "tests/support/run.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl {
namespace {

namespace json = boost::json;
using namespace std::chrono_literals;
using Unix = asio::local::stream_protocol;

const QmpClient::OnEvent no_events;

class Qmp : public ::testing::Test {
 protected:
  std::filesystem::path socket() const { return directory_ / "qmp.sock"; }

  Child start_qemu(const asio::any_io_executor& executor) const {
    Command command;
    command.argv = {"qemu-system-x86_64", "-machine", "none", "-nodefaults",
                    "-display",           "none",     "-qmp", "unix:" + socket().string() + ",server=on,wait=off"};
    return Child::start(executor, command);
  }

  asio::awaitable<std::unique_ptr<QmpClient>> connect(QmpClient::OnEvent on_event = {}) const {
    for (;;) {
      try {
        co_return co_await QmpClient::connect(socket(), 5s, on_event);
      } catch (const Error& error) {
        if (error.code() != Errc::not_found) throw;
      }
      co_await sleep_for(2ms);
    }
  }

  test::TempDir directory_;
};

asio::awaitable<std::string> refusal(QmpClient& client, std::string command) {
  try {
    co_await client.execute(command);
  } catch (const Error& error) {
    co_return error.cause();
  }
  co_return "it was done";
}

TEST_F(Qmp, MatchesManyCommandsInFlightToTheirReplies) {
  auto work = [&]() -> asio::awaitable<int> {
    auto executor = co_await asio::this_coro::executor;
    Child qemu = start_qemu(executor);
    auto client = co_await connect();
    int right = 0;
    using Task = decltype(asio::co_spawn(executor, client->execute("query-status"), asio::deferred));
    std::vector<Task> status, version;
    for (int i = 0; i < 50; ++i) {
      status.push_back(asio::co_spawn(executor, client->execute("query-status"), asio::deferred));
      version.push_back(asio::co_spawn(executor, client->execute("query-version"), asio::deferred));
    }
    auto group =
        asio::experimental::make_parallel_group(asio::experimental::make_parallel_group(std::move(status))
                                                    .async_wait(asio::experimental::wait_for_all(), asio::deferred),
                                                asio::experimental::make_parallel_group(std::move(version))
                                                    .async_wait(asio::experimental::wait_for_all(), asio::deferred));
    auto [order, o1, e1, statuses, o2, e2, versions] =
        co_await group.async_wait(asio::experimental::wait_for_all(), asio::use_awaitable);
    for (const json::value& value : statuses) right += value.as_object().contains("running");
    for (const json::value& value : versions) right += value.as_object().contains("qemu");
    qemu.kill(SIGKILL);
    co_await qemu.wait();
    co_return right;
  };
  EXPECT_EQ(test::run(work()), 100);
}

TEST_F(Qmp, ReportsQemusOwnWordsWhenItRefuses) {
  auto work = [&]() -> asio::awaitable<std::string> {
    Child qemu = start_qemu(co_await asio::this_coro::executor);
    auto client = co_await connect();
    std::string words = co_await refusal(*client, "no-such-command");
    qemu.kill(SIGKILL);
    co_await qemu.wait();
    co_return words;
  };
  EXPECT_EQ(test::run(work()), "The command no-such-command has not been found");
}

TEST_F(Qmp, DeliversEventsAndThenTheEnd) {
  std::vector<std::string> events;
  auto work = [&]() -> asio::awaitable<bool> {
    Child qemu = start_qemu(co_await asio::this_coro::executor);
    QmpClient::OnEvent record = [&](std::string_view name, const json::object& data) {
      events.emplace_back(std::string(name) + " " + std::string(data.at("reason").as_string()));
    };
    auto client = co_await connect(record);
    co_await client->execute("quit");
    co_await client->closed();
    const ExitStatus status = co_await qemu.wait();
    co_return status.ok() && !client->is_open();
  };
  EXPECT_TRUE(test::run(work()));
  EXPECT_EQ(events, std::vector<std::string>{"SHUTDOWN host-qmp-quit"});
}

TEST_F(Qmp, FailsCommandsInFlightWhenQemuIsKilled) {
  auto work = [&]() -> asio::awaitable<std::string> {
    auto executor = co_await asio::this_coro::executor;
    Child qemu = start_qemu(executor);
    auto client = co_await connect();
    ::kill(qemu.pid(), SIGSTOP);  // so that it cannot answer first
    auto pending = asio::co_spawn(executor, refusal(*client, "query-status"), asio::deferred);
    ::kill(qemu.pid(), SIGKILL);
    const std::string why = co_await std::move(pending)(asio::use_awaitable);
    co_await qemu.wait();
    const std::string later = co_await refusal(*client, "query-status");
    co_return why == later ? why : why + " / " + later;
  };
  EXPECT_EQ(test::run(work()), "QEMU closed its control socket");
}

TEST_F(Qmp, SaysThatTheSocketIsTakenInsteadOfHanging) {
  auto work = [&]() -> asio::awaitable<Errc> {
    Child qemu = start_qemu(co_await asio::this_coro::executor);
    auto first = co_await connect();
    Errc code = Errc::internal;
    try {
      co_await QmpClient::connect(socket(), 50ms, no_events);
    } catch (const Error& error) {
      code = error.code();
    }
    co_await first->execute("query-status");  // and the first one is not disturbed
    qemu.kill(SIGKILL);
    co_await qemu.wait();
    co_return code;
  };
  EXPECT_EQ(test::run(work()), Errc::busy);
}

TEST_F(Qmp, IsServedAgainAfterTheFirstClientHungUp) {
  auto work = [&]() -> asio::awaitable<bool> {
    Child qemu = start_qemu(co_await asio::this_coro::executor);
    auto first = co_await connect();
    first.reset();
    auto second = co_await connect();
    const bool same = second->peer_pid() == qemu.pid();
    qemu.kill(SIGKILL);
    co_await qemu.wait();
    co_return same;
  };
  EXPECT_TRUE(test::run(work()));
}

TEST_F(Qmp, FindsNobodyAtADeadOrMissingSocket) {
  auto work = [&]() -> asio::awaitable<int> {
    int not_found = 0;
    for (int i = 0; i < 2; ++i) {
      try {
        co_await QmpClient::connect(socket(), 5s, no_events);
      } catch (const Error& error) {
        not_found += error.code() == Errc::not_found;
      }
      // The second time there is a file that nobody listens on.
      Unix::acceptor dead(co_await asio::this_coro::executor);
      if (i == 0) {
        dead.open();
        dead.bind(Unix::endpoint(socket().string()));
      }
    }
    co_return not_found;
  };
  EXPECT_EQ(test::run(work()), 2);
}

TEST_F(Qmp, CancellingACommandLeavesTheConnectionUsable) {
  auto work = [&]() -> asio::awaitable<bool> {
    auto executor = co_await asio::this_coro::executor;
    Child qemu = start_qemu(executor);
    auto client = co_await connect();
    bool late = false;
    ::kill(qemu.pid(), SIGSTOP);
    try {
      co_await with_timeout(1ms, "asking a stopped QEMU", client->execute("query-version"));
    } catch (const Error& error) {
      late = error.code() == Errc::timed_out;
    }
    ::kill(qemu.pid(), SIGCONT);
    const json::value status = co_await client->execute("query-status");
    qemu.kill(SIGKILL);
    co_await qemu.wait();
    co_return late&& status.as_object().contains("running");
  };
  EXPECT_TRUE(test::run(work()));
}

TEST_F(Qmp, HangsUpOnAPeerThatSpeaksNonsense) {
  auto work = [&]() -> asio::awaitable<Errc> {
    auto executor = co_await asio::this_coro::executor;
    Unix::acceptor acceptor(executor, Unix::endpoint(socket().string()));
    auto greet = [&]() -> asio::awaitable<void> {
      Unix::socket peer = co_await acceptor.async_accept(asio::use_awaitable);
      const std::string banner = "SSH-2.0-OpenSSH_9.2\r\n";
      co_await asio::async_write(peer, asio::buffer(banner), asio::use_awaitable);
      std::string rest;
      co_await asio::async_read_until(peer, asio::dynamic_buffer(rest), '\n', no_throw);  // until it hangs up
    };
    auto serving = asio::co_spawn(executor, greet(), asio::deferred);
    Errc code = Errc::internal;
    auto call = [&]() -> asio::awaitable<void> {
      try {
        co_await QmpClient::connect(socket(), 5s, no_events);
      } catch (const Error& error) {
        code = error.code();
      }
    };
    auto calling = asio::co_spawn(executor, call(), asio::deferred);
    auto both = asio::experimental::make_parallel_group(std::move(serving), std::move(calling));
    co_await both.async_wait(asio::experimental::wait_for_all(), asio::use_awaitable);
    co_return code;
  };
  EXPECT_EQ(test::run(work()), Errc::protocol);
}

}  // namespace
}  // namespace cl
