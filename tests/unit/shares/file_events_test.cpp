#include "src/shares/file_events.hpp"

#include <gtest/gtest.h>

#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>

#include "tests/fakes/choppy_stream.hpp"
#include "tests/support/run.hpp"

namespace cl::test {
namespace {

using Kind = FileChange::Kind;

std::string frame(std::string_view content) {
  std::string text{0, 0, 0, static_cast<char>(content.size())};
  return text.append(content);
}

TEST(FileEventsWire, IsWhatTheHelperReads) {
  const std::vector<FileChange> changes{{Kind::modified, "/a b"}, {Kind::moved, "/y", "/x", true, true}};
  const std::string expected(
      "\0\0\0\x15"
      "b"
      "m\0\0\4/a b\0\0"
      "r\3\0\2/y\0\2/x",
      25);
  EXPECT_EQ(encode_changes(changes), expected);
}

TEST(FileEventsWire, LeavesOutWhatNoKernelTakes) {
  EXPECT_EQ(encode_changes(std::vector<FileChange>{{Kind::created, "/" + std::string(5000, 'a')}}), frame("b"));
}

TEST(FileEventsWire, FramesOfTheHelperComeInAnyPieces) {
  const std::string all = frame("hexact") + frame("k") + frame("k");
  for (unsigned seed = 1; seed < 200; ++seed) {
    unsigned state = seed;
    std::string unread, seen;
    for (std::size_t at = 0; at < all.size();) {
      state = state * 1103515245 + 12345;
      const std::size_t size = std::min<std::size_t>(1 + state / 65536 % 7, all.size() - at);
      unread += all.substr(at, size);
      at += size;
      while (const auto one = take_helper_frame(unread)) seen += one->kind + one->payload + ";";
    }
    ASSERT_EQ(seen, "hexact;k;k;");
    ASSERT_TRUE(unread.empty());
  }
}

TEST(FileEventsWire, NonsenseIsRefusedAndNotWaitedFor) {
  std::string empty("\0\0\0\0", 4), huge("\x7f\0\0\0", 4);
  EXPECT_THROW(take_helper_frame(empty), Error);
  EXPECT_THROW(take_helper_frame(huge), Error);
}

/// A helper that the test speaks for.
class FakeHelper : public GuestProcess {
 public:
  explicit FakeHelper(std::unique_ptr<ByteStream> io) : io_(std::move(io)) {}
  ByteStream& io() override { return *io_; }
  asio::awaitable<std::size_t> read_errors(std::span<char>) override { co_return 0; }
  asio::awaitable<void> resize(TerminalSize) override { co_return; }
  asio::awaitable<int> wait_exit() override { co_return 0; }

 private:
  std::unique_ptr<ByteStream> io_;
};

class FakeGuest : public Guest {
 public:
  FakeGuest(asio::any_io_executor executor, bool split) : executor_(executor), split_(split), begun(executor) {}
  asio::awaitable<std::unique_ptr<GuestProcess>> exec(ExecRequest) override {
    auto ends = MemoryStream::pair(executor_);
    helper = std::move(ends.second);
    begun.notify_all();
    std::unique_ptr<ByteStream> ours = std::move(ends.first);
    if (split_) ours = choppy(std::move(ours));
    co_return std::make_unique<FakeHelper>(std::move(ours));
  }
  asio::awaitable<std::unique_ptr<ByteStream>> open_unix(std::string) override { throw Error(Errc::internal, "no"); }
  asio::awaitable<std::unique_ptr<ByteStream>> open_tcp(std::string, std::uint16_t) override {
    throw Error(Errc::internal, "no");
  }
  asio::awaitable<void> lost() override { co_return; }

 private:
  asio::any_io_executor executor_;
  bool split_;

 public:
  Notifier begun;
  std::unique_ptr<MemoryStream> helper;  ///< the other end of the last one that was started
};

struct Bed {
  explicit Bed(asio::any_io_executor executor, bool split = false, std::size_t most = 100'000)
      : guest(std::make_shared<FakeGuest>(executor, split)) {
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
    while (guest->helper == nullptr) co_await guest->begun.wait();
    const std::string hello = frame("hnear");
    co_await guest->helper->write(hello);
  }
  /// The records of the next frame.
  asio::awaitable<std::string> next() {
    const std::string head = co_await read_exactly(*guest->helper, 4);
    const std::size_t size = static_cast<unsigned char>(head[2]) * 256U + static_cast<unsigned char>(head[3]);
    co_return co_await read_exactly(*guest->helper, size);
  }
  asio::awaitable<void> acknowledge() {
    const std::string done = frame("k");
    co_await guest->helper->write(done);
  }
  std::shared_ptr<FakeGuest> guest;
  bool awake = true;
  int reached = 0, looked_again = 0;
  std::optional<FileEvents> events;
};

std::string records(std::vector<FileChange> changes) { return encode_changes(changes).substr(4); }

asio::awaitable<std::string> two_batches(bool split) {
  Bed bed(co_await asio::this_coro::executor, split);
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

TEST(FileEvents, WhatComesWhileTheGuestIsBusyIsMergedIntoTheNextFrame) {
  const std::string expected =
      records({{Kind::modified, "/x"}}) + records({{Kind::modified, "/y"}, {Kind::modified, "/z"}}) + "near";
  EXPECT_EQ(run(two_batches(false)), expected);
  EXPECT_EQ(run(two_batches(true)), expected);
}

asio::awaitable<std::string> lost_helper() {
  Bed bed(co_await asio::this_coro::executor);
  bed.events->tell({{Kind::removed, "/x"}});
  co_await bed.greet();
  co_await bed.next();
  const auto broken = std::move(bed.guest->helper);
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
  EXPECT_EQ(run(lost_helper()), records({{Kind::removed, "/x"}}) + ", a problem");
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
  Bed bed(co_await asio::this_coro::executor, false, 3);
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

/// The guest takes its time over the first frame while more than is kept comes.
asio::awaitable<std::string> too_much_for_a_slow_guest() {
  Bed bed(co_await asio::this_coro::executor, false, 3);
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
