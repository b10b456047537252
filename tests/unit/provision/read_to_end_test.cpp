#include <gtest/gtest.h>

#include "src/base/error.hpp"
#include "tests/fakes/memory_messages.hpp"
#include "tests/support/run.hpp"

namespace cl::test {
namespace {

asio::awaitable<std::string> said(std::size_t limit) {
  auto [ours, theirs] = MemoryMessages::pair(co_await asio::this_coro::executor);
  co_await theirs->write("one\n");
  co_await theirs->write("two\n");
  theirs.reset();
  try {
    co_return co_await read_to_end(*ours, limit);
  } catch (const Error& error) {
    co_return error.what();
  }
}

TEST(ReadToEnd, TakesAllMessagesUpToItsLimit) {
  EXPECT_EQ(run(said(8)), "one\ntwo\n");
  EXPECT_EQ(run(said(7)), "the guest's agent says more than 7 bytes");
}

}  // namespace
}  // namespace cl::test
