#include "src/shares/file_events.hpp"

#include <gtest/gtest.h>

#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>

#include "provision/channel/protocol.hpp"
#include "tests/fakes/memory_messages.hpp"
#include "tests/support/run.hpp"

namespace cl::test {
namespace {

using Kind = FileChange::Kind;

TEST(FileEventsWire, IsWhatTheAgentReads) {
  const std::vector<FileChange> changes{{Kind::modified, "/a b"}, {Kind::moved, "/y", "/x", true, true}};
  const std::string expected(
      "m\0\0\4/a b\0\0"
      "r\3\0\2/y\0\2/x",
      20);
  EXPECT_EQ(encode_changes(changes), std::vector<std::string>{expected});
}

TEST(FileEventsWire, LeavesOutWhatNoKernelTakes) {
  EXPECT_TRUE(encode_changes(std::vector<FileChange>{{Kind::created, "/" + std::string(5000, 'a')}}).empty());
}

TEST(FileEventsWire, IsAsManyMessagesAsLongPathsTake) {
  const std::vector<FileChange> changes(9, {Kind::created, "/" + std::string(4000, 'a')});
  const auto messages = encode_changes(changes);
  ASSERT_EQ(messages.size(), 2u);
  EXPECT_LE(messages[0].size(), agent::most_data);
  EXPECT_EQ(messages[0].size() + messages[1].size(), 9u * (6 + 4001));
  EXPECT_EQ(messages[1], messages[0].substr(0, 4007));  // each begins with a record
}

struct Bed {
  explicit Bed(asio::any_io_executor executor, std::size_t most = 100'000)
      : guest(std::make_shared<ServiceGuest>(executor)) {
    FileEvents::Config config;
    config.guest = [this]() -> asio::awaitable<std::shared_ptr<Guest>> {
      ++reached;
      if (!awake) throw Error(Errc::guest_failed, "asleep");
      co_return guest;
    };
    config.look_again = [this](FileEvents::WallClock::time_point) { ++looked_again; };
    config.reconnect = 1ms;
    config.most_waiting = most;
    events.emplace(executor, std::move(config));
  }
  asio::awaitable<void> greet() {
    while (guest->agent == nullptr) co_await guest->begun.wait();
    co_await guest->agent->write("near");
  }
  /// The records of the next message.
  asio::awaitable<std::string> next() {
    auto message = co_await guest->agent->read();
    co_return message.value_or("the end");
  }
  asio::awaitable<void> acknowledge() { return guest->agent->write("ok"); }
  std::shared_ptr<ServiceGuest> guest;
  bool awake = true;
  int reached = 0, looked_again = 0;
  std::optional<FileEvents> events;
};

std::string records(std::vector<FileChange> changes) { return encode_changes(changes).at(0); }

asio::awaitable<std::string> two_batches() {
  Bed bed(co_await asio::this_coro::executor);
  bed.events->tell({{Kind::modified, "/x"}});
  co_await bed.greet();
  std::string seen = co_await bed.next();
  bed.events->tell({{Kind::modified, "/y"}});
  bed.events->tell({{Kind::modified, "/y"}, {Kind::modified, "/z"}});
  co_await bed.acknowledge();
  seen += co_await bed.next();
  seen += bed.events->precision();
  co_await bed.events->stop();
  co_return seen;
}

TEST(FileEvents, WhatComesWhileTheGuestIsBusyIsMergedIntoTheNextMessage) {
  const std::string expected =
      records({{Kind::modified, "/x"}}) + records({{Kind::modified, "/y"}, {Kind::modified, "/z"}}) + "near";
  EXPECT_EQ(run(two_batches()), expected);
}

asio::awaitable<std::string> lost_agent() {
  Bed bed(co_await asio::this_coro::executor);
  bed.events->tell({{Kind::removed, "/x"}});
  co_await bed.greet();
  co_await bed.next();
  const auto broken = std::move(bed.guest->agent);
  broken->reset();
  co_await bed.greet();
  std::string seen = co_await bed.next();
  seen += bed.events->problem().empty() ? ", without a problem" : ", a problem";
  co_await bed.acknowledge();
  co_await sleep_for(5ms);
  seen += bed.events->problem();
  co_await bed.events->stop();
  co_return seen;
}

TEST(FileEvents, WhatWasNotAcknowledgedIsToldAgain) {
  EXPECT_EQ(run(lost_agent()), records({{Kind::removed, "/x"}}) + ", a problem");
}

asio::awaitable<std::string> paused() {
  auto executor = co_await asio::this_coro::executor;
  Bed bed(executor);
  co_await bed.events->pause();
  bed.events->tell({{Kind::modified, "/x"}});
  co_await sleep_for(20ms);
  std::string seen = std::to_string(bed.reached);
  bed.events->resume();
  co_await bed.greet();
  seen += co_await bed.next();
  // In the middle of an exchange pausing takes until that is over.
  bool quiet = false;
  auto pausing = [&]() -> asio::awaitable<void> {
    co_await bed.events->pause();
    quiet = true;
  };
  asio::co_spawn(executor, pausing(), asio::detached);
  co_await sleep_for(5ms);
  seen += quiet ? "too early" : "";
  co_await bed.acknowledge();
  co_await sleep_for(5ms);
  seen += quiet ? "quiet" : "never";
  co_await bed.events->stop();
  co_return seen;
}

TEST(FileEvents, NothingReachesForAMachineThatSleeps) {
  EXPECT_EQ(run(paused()), "0" + records({{Kind::modified, "/x"}}) + "quiet");
}

asio::awaitable<int> too_much() {
  Bed bed(co_await asio::this_coro::executor, 3);
  co_await bed.events->pause();
  for (int i = 0; i < 10; ++i) bed.events->tell({{Kind::modified, "/" + std::to_string(i)}});
  co_await sleep_for(5ms);
  int looked = 10 * bed.looked_again;
  bed.events->resume();
  co_await bed.greet();
  co_await sleep_for(5ms);
  looked += bed.looked_again;
  co_await bed.events->stop();
  co_return looked;
}

TEST(FileEvents, WhatIsTooMuchToKeepIsLookedForOnceTheGuestIsBack) { EXPECT_EQ(run(too_much()), 1); }

/// The guest takes its time over the first message while more than is kept comes.
asio::awaitable<std::string> too_much_for_a_slow_guest() {
  Bed bed(co_await asio::this_coro::executor, 3);
  bed.events->tell({{Kind::modified, "/first"}});
  co_await bed.greet();
  std::string seen = co_await bed.next();
  for (int i = 0; i < 10; ++i) bed.events->tell({{Kind::modified, "/" + std::to_string(i)}});
  seen += std::to_string(bed.looked_again);
  co_await bed.acknowledge();
  while (bed.looked_again == 0) co_await sleep_for(1ms);
  bed.events->tell({{Kind::modified, "/found"}});
  seen += co_await bed.next();
  co_await bed.events->stop();
  co_return seen;
}

TEST(FileEvents, WhatIsTooMuchToKeepForASlowGuestIsLookedForOnceItIsDone) {
  EXPECT_EQ(run(too_much_for_a_slow_guest()),
            records({{Kind::modified, "/first"}}) + "0" + records({{Kind::modified, "/found"}}));
}

}  // namespace
}  // namespace cl::test
