#include "src/base/async.hpp"

#include <gtest/gtest.h>

#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <vector>

#include "src/base/task_group.hpp"
#include "tests/support/run.hpp"

namespace cl {
namespace {

using namespace std::chrono_literals;
using test::run;

/// Says on its way out that it really ended.
struct Trace {
  std::string& log;
  std::string name;
  ~Trace() { log += name + " ended;"; }
};

asio::awaitable<int> answer() { co_return 42; }
asio::awaitable<void> fail_now() {
  throw Error(Errc::io, "refused");
  co_return;
}
asio::awaitable<int> fail_with_value() {
  throw Error(Errc::io, "refused");
  co_return 1;
}
asio::awaitable<void> never_ends(std::string& log) {
  const Trace trace{log, "operation"};
  Event event(co_await asio::this_coro::executor);
  co_await event.wait();
}

TEST(WithTimeout, ReturnsTheValue) { EXPECT_EQ(run(with_timeout(1h, "answering", answer())), 42); }

TEST(WithTimeout, PassesAnErrorOnAtOnce) {
  // An hour's limit: were the error swallowed until then, run() would give up first.
  for (const bool with_value : {false, true}) {
    try {
      if (with_value) {
        run(with_timeout(1h, "dialling", fail_with_value()));
      } else {
        run(with_timeout(1h, "dialling", fail_now()));
      }
      ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_STREQ(error.what(), "refused");
    }
  }
}

TEST(WithTimeout, SaysWhatTookTooLongOnceTheOperationHasEnded) {
  std::string log;
  try {
    run(with_timeout(1ms, "waiting for the moon", never_ends(log)));
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::timed_out);
    EXPECT_STREQ(error.what(), "waiting for the moon took too long");
    log += "told";
  }
  EXPECT_EQ(log, "operation ended;told");
}

asio::awaitable<void> note_outcome(std::string& log, asio::awaitable<void> op) {
  try {
    co_await with_timeout(1h, "waiting", std::move(op));
    log += "returned";
  } catch (const boost::system::system_error& error) {
    log += error.code() == asio::error::operation_aborted ? "aborted" : error.what();
  } catch (const Error& error) {
    log += error.what();
  }
}

asio::awaitable<void> cancel_from_outside(std::string& log) {
  auto executor = co_await asio::this_coro::executor;
  TaskGroup tasks(executor);
  tasks.spawn("waiter", note_outcome(log, never_ends(log)));
  co_await asio::post(executor, asio::use_awaitable);
  co_await tasks.stop();
}

TEST(WithTimeout, PassesAnOuterCancellationInward) {
  std::string log;
  run(cancel_from_outside(log));
  EXPECT_EQ(log, "operation ended;aborted");
}

asio::awaitable<void> wait_and_note(Event& event, std::string& log, std::string name) {
  co_await event.wait();
  log += name;
}

asio::awaitable<void> set_before_and_after(std::string& log) {
  auto executor = co_await asio::this_coro::executor;
  Event event(executor);
  TaskGroup tasks(executor);
  tasks.spawn("a", wait_and_note(event, log, "a"));
  tasks.spawn("b", wait_and_note(event, log, "b"));
  co_await asio::post(executor, asio::use_awaitable);
  log += "set ";
  event.set();
  event.set();
  co_await event.wait();
  while (tasks.size() > 0) co_await asio::post(executor, asio::use_awaitable);
  co_await event.wait();
  log += event.is_set() ? " latched" : " lost";
  event.reset();
  tasks.spawn("c", wait_and_note(event, log, "c"));
  co_await asio::post(executor, asio::use_awaitable);
  log += tasks.size() == 1 ? " waits" : " went on";
  co_await tasks.stop();
}

TEST(Event, WakesEveryWaiterAndStaysSetUntilReset) {
  std::string log;
  run(set_before_and_after(log));
  EXPECT_EQ(log, "set ab latched waits");
}

asio::awaitable<void> wait_once(Event& event, std::string& log) {
  try {
    co_await event.wait();
    log += "woken";
  } catch (const boost::system::system_error&) {
    log += "aborted";
  }
}

asio::awaitable<void> cancel_waiter(std::string& log) {
  auto executor = co_await asio::this_coro::executor;
  Event event(executor);
  TaskGroup tasks(executor);
  tasks.spawn("waiter", wait_once(event, log));
  co_await asio::post(executor, asio::use_awaitable);
  co_await tasks.stop();
  event.set();
}

TEST(Event, LetsItsWaiterBeCancelled) {
  std::string log;
  run(cancel_waiter(log));
  EXPECT_EQ(log, "aborted");
}

using Socket = asio::local::stream_protocol::socket;

/// Closes a socket whose event waits its turn, and watches a new one, for which asio takes the same state object.
asio::awaitable<void> watch_after_another(Socket& waker, Socket& old, Socket& fresh, Socket& peer, bool& seen) {
  co_await waker.async_wait(Socket::wait_read, asio::use_awaitable);
  old.close();
  asio::local::connect_pair(fresh, peer);
  co_await hung_up(fresh);
  seen = true;
}

TEST(HungUp, IsNotTakenFromTheEventOfAnEarlierSocket) {
  asio::io_context io;
  Socket waker(io), waker_peer(io), old(io), old_peer(io), fresh(io), peer(io);
  asio::local::connect_pair(waker, waker_peer);
  asio::local::connect_pair(old, old_peer);
  bool seen = false;
  asio::co_spawn(io, watch_after_another(waker, old, fresh, peer, seen), asio::detached);
  io.poll();
  // Both are ready in one look, in this order.
  waker_peer.close();
  old_peer.close();
  io.run_for(20ms);
  EXPECT_FALSE(seen) << "its peer is there";
  peer.close();
  io.run_for(1s);
#ifdef __linux__
  EXPECT_TRUE(seen);
#endif
}

TEST(SleepFor, EndsAfterItsTime) { EXPECT_NO_THROW(run(sleep_for(1ms))); }

}  // namespace
}  // namespace cl
