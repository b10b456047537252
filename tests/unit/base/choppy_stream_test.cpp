#include "tests/fakes/choppy_stream.hpp"

#include <gtest/gtest.h>

#include "src/base/task_group.hpp"
#include "tests/support/run.hpp"

namespace cl::test {
namespace {

asio::awaitable<void> write_then_end(ByteStream& stream, std::string text) {
  co_await stream.write(text);
  co_await stream.shutdown_write();
}

asio::awaitable<std::string> send_through(std::size_t capacity, bool split) {
  auto executor = co_await asio::this_coro::executor;
  auto ends = MemoryStream::pair(executor, capacity);
  std::unique_ptr<ByteStream> a = std::move(ends.first), b = std::move(ends.second);
  if (split) {
    a = choppy(std::move(a));
    b = choppy(std::move(b), Chop{.read = 3, .write = 2});
  }
  TaskGroup tasks(executor);
  tasks.spawn("writer", write_then_end(*a, "a text longer than the capacity"));
  std::string got = co_await read_to_end(*b);
  co_await write_then_end(*b, "back");
  got += "|" + co_await read_to_end(*a);
  co_await tasks.stop();
  co_return got;
}

TEST(MemoryStream, CarriesBytesBothWaysWithHalfClose) {
  EXPECT_EQ(run(send_through(64, false)), "a text longer than the capacity|back");
}
TEST(MemoryStream, WaitsForRoomWhenTheReaderIsSlow) {
  EXPECT_EQ(run(send_through(4, false)), "a text longer than the capacity|back");
}
TEST(ChoppyStream, LosesAndReordersNothing) {
  EXPECT_EQ(run(send_through(4, true)), "a text longer than the capacity|back");
}

asio::awaitable<std::size_t> first_read(Chop chop) {
  auto ends = MemoryStream::pair(co_await asio::this_coro::executor);
  co_await ends.first->write(std::string_view("0123456789"));
  auto split = choppy(std::move(ends.second), chop);
  std::array<char, 64> space;
  co_return co_await split->read_some(space);
}

TEST(ChoppyStream, ReadsOneByteAtATimeByDefault) {
  EXPECT_EQ(run(first_read({})), 1u);
  EXPECT_EQ(run(first_read({.read = 7, .write = 1})), 7u);
}

asio::awaitable<std::string> read_until_broken(std::size_t fuse, std::string text) {
  auto ends = MemoryStream::pair(co_await asio::this_coro::executor);
  ends.first->reset_after_writing(fuse);
  std::string seen;
  try {
    co_await ends.first->write(text);
  } catch (const Error& error) {
    seen += "write:" + std::string(error.what()) + "|";
  }
  try {
    for (;;) {
      std::array<char, 3> space;
      const std::size_t got = co_await ends.second->read_some(space);
      if (got == 0) co_return seen + "end";
      seen.append(space.data(), got);
    }
  } catch (const Error& error) {
    seen += "|read:" + std::string(error.what());
  }
  co_return seen;
}

TEST(MemoryStream, ResetsAfterTheAskedNumberOfBytes) {
  EXPECT_EQ(run(read_until_broken(5, "0123456789")), "write:connection reset|01234|read:connection reset");
  EXPECT_EQ(run(read_until_broken(10, "0123456789")), "0123456789|read:connection reset");
}

asio::awaitable<void> read_one(ByteStream& stream, std::string& outcome) {
  std::array<char, 8> space;
  try {
    outcome = std::to_string(co_await stream.read_some(space));
  } catch (const Error& error) {
    outcome = error.what();
  }
}

enum class Ending { peer_resets, peer_closes, reader_closes };
asio::awaitable<std::string> pending_read_when(Ending ending) {
  auto executor = co_await asio::this_coro::executor;
  auto ends = MemoryStream::pair(executor);
  std::string outcome = "still waiting";
  TaskGroup tasks(executor);
  tasks.spawn("reader", read_one(*ends.first, outcome));
  co_await asio::post(executor, asio::use_awaitable);
  switch (ending) {
    case Ending::peer_resets: ends.second->reset(); break;
    case Ending::peer_closes: ends.second->close(); break;
    case Ending::reader_closes: ends.first->close(); break;
  }
  while (tasks.size() > 0) co_await asio::post(executor, asio::use_awaitable);
  co_return outcome;
}

TEST(MemoryStream, WakesAPendingReadWhenTheConnectionEnds) {
  EXPECT_EQ(run(pending_read_when(Ending::peer_resets)), "connection reset");
  EXPECT_EQ(run(pending_read_when(Ending::peer_closes)), "0");
  EXPECT_EQ(run(pending_read_when(Ending::reader_closes)), "the stream was closed");
}

asio::awaitable<void> write_to_closed() {
  auto ends = MemoryStream::pair(co_await asio::this_coro::executor);
  ends.second->close();
  co_await ends.first->write(std::string_view("x"));
}

TEST(MemoryStream, FailsWritesToAPeerThatIsGone) { EXPECT_THROW(run(write_to_closed()), Error); }

asio::awaitable<void> never_ends() {
  Event event(co_await asio::this_coro::executor);
  co_await event.wait();
}

TEST(Run, FailsInsteadOfHanging) { EXPECT_THROW(run(never_ends(), 0s), std::runtime_error); }

}  // namespace
}  // namespace cl::test
