#include <gtest/gtest.h>

#include "tests/support/run.hpp"

// Run by ctest with WILL_FAIL: if one of these passes, the harness has lost its ability to fail.
// They are disabled so that nobody sees them fail by running the program itself.

namespace {

cl::asio::awaitable<void> never_ends() {
  cl::Event event(co_await cl::asio::this_coro::executor);
  co_await event.wait();
}

TEST(Canary, DISABLED_AnUnfinishedCoroutineFails) { cl::test::run(never_ends(), std::chrono::seconds(0)); }

TEST(Canary, DISABLED_AFailedExpectationFails) { EXPECT_EQ(1, 2); }

}  // namespace
