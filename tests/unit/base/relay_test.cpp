#include "src/base/net/relay.hpp"

#include <gtest/gtest.h>

#include "src/base/task_group.hpp"
#include "tests/fakes/choppy_stream.hpp"
#include "tests/support/run.hpp"

namespace cl::test {
namespace {

std::string pattern(std::size_t size) {
  std::string text(size, '\0');
  std::uint32_t state = 1;
  for (char& c : text) {
    state = state * 1664525U + 1013904223U;
    c = static_cast<char>(state >> 24);
  }
  return text;
}

/// left <-> a [relay] b <-> right
struct Bed {
  explicit Bed(const asio::any_io_executor& executor, std::size_t capacity = 64 * 1024, std::optional<Chop> chop = {})
      : tasks(executor) {
    auto one = MemoryStream::pair(executor, capacity);
    auto two = MemoryStream::pair(executor, capacity);
    left = std::move(one.first);
    right = std::move(two.second);
    a_plain = one.second.get();
    b_plain = two.first.get();
    a = std::move(one.second);
    b = std::move(two.first);
    if (chop) {
      a = choppy(std::move(a), *chop);
      b = choppy(std::move(b), *chop);
    }
  }

  void start() {
    auto work = [](Bed* bed) -> asio::awaitable<void> {
      try {
        bed->count = co_await relay(*bed->a, *bed->b, &bed->traffic);
      } catch (const boost::system::system_error& error) {
        bed->cancelled = error.code() == asio::error::operation_aborted;
      }
      bed->ended = true;
    };
    tasks.spawn("relay", work(this));
  }
  /// Lets everything that can run do so; nothing here waits for time.
  asio::awaitable<void> settle() {
    auto executor = co_await asio::this_coro::executor;
    for (int turn = 0; turn < 200; ++turn) co_await asio::post(executor, asio::use_awaitable);
  }

  std::unique_ptr<MemoryStream> left, right;
  std::unique_ptr<ByteStream> a, b;
  MemoryStream *a_plain, *b_plain;
  Traffic traffic;
  RelayCount count;
  bool ended = false, cancelled = false;
  TaskGroup tasks;
};

asio::awaitable<void> send(ByteStream& stream, std::string text) {
  co_await stream.write(text);
  co_await stream.shutdown_write();
}

struct Both {
  std::string left, right;
  RelayCount count;
};
asio::awaitable<Both> send_both_ways(std::string to_right, std::string to_left, std::size_t capacity,
                                     std::optional<Chop> chop) {
  auto executor = co_await asio::this_coro::executor;
  Bed bed(executor, capacity, chop);
  bed.start();
  bed.tasks.spawn("left writer", send(*bed.left, std::move(to_right)));
  bed.tasks.spawn("right writer", send(*bed.right, std::move(to_left)));
  Both both;
  both.right = co_await read_to_end(*bed.right);
  both.left = co_await read_to_end(*bed.left);
  while (!bed.ended) co_await asio::post(executor, asio::use_awaitable);
  both.count = bed.count;
  co_await bed.tasks.stop();
  co_return both;
}

TEST(Relay, CarriesBothDirectionsWhole) {
  const std::string there = pattern(3 << 20), back = pattern((1 << 20) + 1);
  const Both both = run(send_both_ways(there, back, 300 * 1024, {}));
  EXPECT_TRUE(both.right == there);
  EXPECT_TRUE(both.left == back);
  EXPECT_EQ(both.count.a_to_b, there.size());
  EXPECT_EQ(both.count.b_to_a, back.size());
  EXPECT_EQ(both.count.broken, "");
}

TEST(Relay, CarriesBothDirectionsThroughStreamsThatSplitEveryReadAndWrite) {
  const std::string there = pattern(5000), back = pattern(7001);
  const Both both = run(send_both_ways(there, back, 100, Chop{1, 1}));
  EXPECT_TRUE(both.right == there);
  EXPECT_TRUE(both.left == back);
  const Both uneven = run(send_both_ways(there, back, 3, Chop{7, 5}));
  EXPECT_TRUE(uneven.right == there);
  EXPECT_TRUE(uneven.left == back);
}

TEST(Relay, CarriesNothingWhenBothSidesEndAtOnce) {
  const Both both = run(send_both_ways("", "", 10, {}));
  EXPECT_EQ(both.left + both.right, "");
  EXPECT_EQ(both.count.broken, "");
}

enum class Side { left, right };
asio::awaitable<std::string> answer_after_half_close(Side first) {
  Bed bed(co_await asio::this_coro::executor);
  bed.start();
  ByteStream& asker = first == Side::left ? *bed.left : *bed.right;
  ByteStream& answerer = first == Side::left ? *bed.right : *bed.left;
  co_await send(asker, "question");
  std::string seen = co_await read_to_end(answerer);  // ends only because the half-close was passed on
  co_await bed.settle();
  seen += bed.ended ? " relay ended early" : "";
  co_await send(answerer, "late answer");
  seen += "|" + co_await read_to_end(asker);
  co_await bed.settle();
  seen += bed.ended && bed.count.broken.empty() ? "|ended" : "|not ended";
  co_return seen;
}

TEST(Relay, KeepsTheOtherDirectionAfterTheLeftSideEndedIts) {
  EXPECT_EQ(run(answer_after_half_close(Side::left)), "question|late answer|ended");
}
TEST(Relay, KeepsTheOtherDirectionAfterTheRightSideEndedIts) {
  EXPECT_EQ(run(answer_after_half_close(Side::right)), "question|late answer|ended");
}

asio::awaitable<std::string> reset_on(Side side) {
  Bed bed(co_await asio::this_coro::executor);
  bed.start();
  co_await bed.settle();
  (side == Side::left ? *bed.left : *bed.right).reset();
  co_await bed.settle();
  std::string seen = bed.ended ? bed.count.broken : "still running";
  if (!bed.a_plain->closed() || !bed.b_plain->closed()) seen += ", a stream was left open";
  co_return seen;
}

TEST(Relay, ClosesTheOtherStreamAtOnceWhenOneBreaks) {
  EXPECT_EQ(run(reset_on(Side::left)), "connection reset");
  EXPECT_EQ(run(reset_on(Side::right)), "connection reset");
}

asio::awaitable<std::string> writer_meets_a_closed_peer() {
  Bed bed(co_await asio::this_coro::executor);
  bed.start();
  bed.right->close();  // the end of right's bytes comes first, then nobody takes ours
  co_await bed.settle();
  std::string seen = bed.ended ? "ended too early; " : "";
  co_await bed.left->write(std::string_view("for nobody"));
  co_await bed.settle();
  seen += bed.ended ? bed.count.broken : "still running";
  co_return seen;
}

TEST(Relay, EndsWhenTheReaderIsGone) { EXPECT_EQ(run(writer_meets_a_closed_peer()), "broken pipe"); }

asio::awaitable<std::size_t> taken_for_a_stalled_reader(std::size_t capacity) {
  auto executor = co_await asio::this_coro::executor;
  Bed bed(executor, capacity);
  bed.start();
  bed.tasks.spawn("left writer", send(*bed.left, std::string(16 << 20, 'x')));
  co_await bed.settle();
  // What has left the writer and is not yet with the reader.
  std::size_t before = 0;
  for (;;) {
    co_await bed.settle();
    const std::size_t now = bed.traffic.a_to_b;
    if (now == before) break;
    before = now;
  }
  const std::size_t waiting = bed.b_plain->unread_by_peer();
  co_await bed.tasks.stop();
  co_return waiting;
}

TEST(Relay, StopsReadingForAStalledReader) {
  // The stream to the reader is full, and the relay has handed on no more than fits into it.
  EXPECT_EQ(run(taken_for_a_stalled_reader(64 * 1024)), 64u * 1024);
}

/// Never ends by itself and remembers the largest space it was offered, before and after bulk data.
class CountingStream : public ByteStream {
 public:
  CountingStream(const asio::any_io_executor& executor, int full_reads) : full_reads_(full_reads), stuck_(executor) {}
  asio::awaitable<std::size_t> read_some(std::span<char> space) override {
    largest = std::max(largest, space.size());
    last = space.size();
    if (full_reads_-- > 0) co_return space.size();
    if (!said_little_) {
      said_little_ = true;
      co_return 1;
    }
    if (!said_little_again_) {
      said_little_again_ = true;
      co_return 1;
    }
    co_await stuck_.wait();
    co_return 0;
  }
  asio::awaitable<void> write(std::span<const char>) override { co_return; }
  asio::awaitable<void> shutdown_write() override { co_return; }
  void close() noexcept override { stuck_.set(); }

  std::size_t largest = 0, last = 0;

 private:
  int full_reads_;
  bool said_little_ = false, said_little_again_ = false;
  Event stuck_;
};

asio::awaitable<std::string> spaces(int full_reads) {
  auto executor = co_await asio::this_coro::executor;
  CountingStream busy(executor, full_reads), idle(executor, 0);
  TaskGroup tasks(executor);
  auto work = [](ByteStream* a, ByteStream* b) -> asio::awaitable<void> { co_await relay(*a, *b); };
  tasks.spawn("relay", work(&busy, &idle));
  for (int turn = 0; turn < 200; ++turn) co_await asio::post(executor, asio::use_awaitable);
  co_await tasks.stop();
  co_return std::to_string(busy.largest) + " then " + std::to_string(busy.last) + ", idle " +
      std::to_string(idle.largest);
}

TEST(Relay, TakesLittleMemoryForAQuietStreamAndABoundedAmountForABusyOne) {
  EXPECT_EQ(run(spaces(0)), "2048 then 2048, idle 2048");
  EXPECT_EQ(run(spaces(20)), "262144 then 2048, idle 2048");
}

asio::awaitable<std::string> cancelled_relay() {
  Bed bed(co_await asio::this_coro::executor);
  bed.start();
  bed.tasks.spawn("left writer", send(*bed.left, std::string(1 << 20, 'x')));
  co_await bed.settle();
  co_await bed.tasks.stop();
  std::string seen = bed.ended ? "ended" : "not ended";
  seen += bed.cancelled ? ", cancelled" : ", not cancelled";
  seen += bed.a_plain->closed() && bed.b_plain->closed() ? ", closed" : ", left open";
  co_return seen;
}

TEST(Relay, EndsBothDirectionsAndClosesWhenCancelled) { EXPECT_EQ(run(cancelled_relay()), "ended, cancelled, closed"); }

asio::awaitable<bool> live_counts() {
  auto executor = co_await asio::this_coro::executor;
  Bed bed(executor);
  bed.start();
  co_await bed.left->write(std::string_view("12345"));
  co_await read_exactly(*bed.right, 5);
  co_await bed.right->write(std::string_view("123"));
  co_await read_exactly(*bed.left, 3);
  co_await bed.settle();
  const bool seen = bed.traffic.a_to_b == 5 && bed.traffic.b_to_a == 3 &&
                    bed.traffic.last != std::chrono::steady_clock::time_point{} && !bed.ended;
  co_await bed.tasks.stop();
  co_return seen;
}

TEST(Relay, CountsWhileItRuns) { EXPECT_TRUE(run(live_counts())); }

}  // namespace
}  // namespace cl::test
