#include "src/daemon/ssh_link.hpp"

#include <gtest/gtest.h>
#include <signal.h>

#include <boost/asio/post.hpp>

#include "tests/integration/ssh_lab.hpp"
#include "tests/support/run.hpp"

/// The session to a guest that is lost, or hangs, with a real sshd.
namespace cl::test {
namespace {

using Clock = std::chrono::steady_clock;

struct Bed {
  explicit Bed(asio::any_io_executor executor) : executor(executor), lab(executor) {}

  asio::awaitable<void> set_up() {
    co_await lab.set_up();
    GuestLink::Config config;
    config.to_guest = config.from_guest = lab.server_socket();
    config.login = lab.login();
    config.answer = 300ms;
    config.on_change = [this](bool reached) { changes += reached ? "+" : "-"; };
    link = SshLink::start(executor, std::move(config));
  }
  asio::awaitable<std::string> ask() {
    try {
      auto guest = co_await link->guest(5s);
      const GuestResult result = co_await run_in_guest(*guest, "echo here", "");
      co_return result.output;
    } catch (const Error& error) {
      co_return one_line(error);
    }
  }
  asio::awaitable<void> tear_down() {
    co_await link->stop();
    co_await lab.stop();
  }

  asio::any_io_executor executor;
  SshLab lab;
  std::shared_ptr<GuestLink> link;
  std::string changes;
};

asio::awaitable<std::string> after_a_kill() {
  Bed bed(co_await asio::this_coro::executor);
  co_await bed.set_up();
  std::string said = co_await bed.ask();
  bed.lab.kill_servers();
  const auto killed = Clock::now();
  while (bed.link->connected()) co_await sleep_for(1ms);
  said += co_await bed.ask();
  const auto took = Clock::now() - killed;
  co_await bed.tear_down();
  if (took > 3s) said += "only after more than three seconds";
  co_return said + bed.changes;
}

TEST(GuestLink, ServesAgainRightAfterItsServerWasKilled) { EXPECT_EQ(run(after_a_kill()), "here\nhere\n+-+"); }

asio::awaitable<std::string> hanging() {
  Bed bed(co_await asio::this_coro::executor);
  co_await bed.set_up();
  std::string said = co_await bed.ask();
  co_await bed.link->check();
  said += bed.changes;  // a session that works is left alone
  bed.lab.signal_servers(SIGSTOP);
  const auto stopped = Clock::now();
  co_await bed.link->check();
  if (Clock::now() - stopped > 3s) said += " the doubt lasts more than three seconds";
  said += " " + co_await bed.ask();
  said += bed.changes;
  co_await bed.tear_down();
  co_return said;
}

TEST(GuestLink, GivesASessionUpThatHangsAndMakesANewOne) { EXPECT_EQ(run(hanging()), "here\n+ here\n+-+"); }

asio::awaitable<std::string> stopped_under_a_visitor() {
  auto executor = co_await asio::this_coro::executor;
  Bed bed(executor);
  co_await bed.set_up();
  co_await bed.ask();
  bed.lab.kill_servers();
  while (bed.link->connected()) co_await sleep_for(1ms);
  std::string said;
  auto visit = [](GuestLink& link, std::string& into) -> asio::awaitable<void> {
    try {
      co_await link.guest(5s);
    } catch (const Error& error) {
      into = one_line(error);
    }
  };
  TaskGroup visitors(executor);
  visitors.spawn("visitor", visit(*bed.link, said));
  co_await asio::post(executor, asio::use_awaitable);
  co_await bed.link->stop();
  bed.link.reset();  // what the visitor still touched would now be gone
  while (visitors.size() > 0) co_await sleep_for(1ms);
  co_await bed.lab.stop();
  co_return said;
}

TEST(GuestLink, DoesNotGoWhileSomebodyWaitsInIt) {
  EXPECT_EQ(run(stopped_under_a_visitor()), "the machine is being stopped");
}

}  // namespace
}  // namespace cl::test
