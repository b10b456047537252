#include "src/forward/listener_watch.hpp"

#include <gtest/gtest.h>

#include "tests/fakes/memory_messages.hpp"
#include "tests/support/run.hpp"

namespace cl::test {
namespace {

asio::awaitable<std::string> lists() {
  auto executor = co_await asio::this_coro::executor;
  auto guest = std::make_shared<ServiceGuest>(executor);
  std::string seen;
  std::optional<ListenerWatch> watch;
  Notifier changed(executor);
  auto note = [&] {
    seen += "[";
    for (const Listener& one : watch->now()) seen += std::to_string(one.port) + one.control_group + " ";
    seen += "]";
    changed.notify_all();
  };
  auto reach = [guest]() -> asio::awaitable<std::shared_ptr<Guest>> { co_return guest; };
  watch.emplace(executor, reach, note);
  while (!guest->agent) co_await guest->begun.wait();
  seen += guest->asked + " ";
  // A list in several messages, with a line that a newer agent might tell; then nothing; then the agent is lost.
  co_await guest->agent->write("tcp 127.0.0.1 80 /a\nudp :: 53 -\n");
  co_await guest->agent->write("sctp ::1 9 /b\ntcp ::1 443 /c\n.\n");
  co_await changed.wait();
  co_await guest->agent->write(".\ntcp 0.0.0.0 1 -\n.\n");
  while (watch->now().size() != 1) co_await sleep_for(1ms);
  const auto lost = std::move(guest->agent);
  lost->reset();
  co_await changed.wait();
  co_await watch->stop();
  co_return seen;
}

TEST(ListenerWatch, KnowsTheLastWholeListAndNothingWhileTheGuestIsAway) {
  EXPECT_EQ(run(lists()), "listeners [80/a 53- 443/c ][][1- ][]");
}

asio::awaitable<int> flood() {
  auto executor = co_await asio::this_coro::executor;
  auto guest = std::make_shared<ServiceGuest>(executor);
  int changes = 0;
  auto reach = [guest]() -> asio::awaitable<std::shared_ptr<Guest>> { co_return guest; };
  ListenerWatch watch(executor, reach, [&changes] { ++changes; });
  while (!guest->agent) co_await guest->begun.wait();
  MemoryMessages& agent = *guest->agent;
  std::string lines;
  for (int i = 0; i < 500; ++i) lines += "tcp 127.0.0.1 80 /a\n";
  try {
    for (int i = 0; i < 1000; ++i) {
      co_await agent.write(lines);
      co_await sleep_for(0ms);
    }
    changes = -1;
  } catch (const Error&) {
    // It was let go of.
  }
  co_await watch.stop();
  co_return changes;
}

TEST(ListenerWatch, LetsGoOfAnAgentThatTellsWithoutEnd) { EXPECT_EQ(run(flood()), 0); }

}  // namespace
}  // namespace cl::test
