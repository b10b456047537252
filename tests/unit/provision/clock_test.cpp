#include "provision/clock.hpp"

#include <gtest/gtest.h>

#include "tests/fakes/choppy_stream.hpp"
#include "tests/support/run.hpp"

namespace cl::test {
namespace {

using namespace std::chrono_literals;

/// Answers each line after the next of `pauses` (at once when there is none left), and notes how old its time was then.
asio::awaitable<void> guest_clock(ByteStream& stream, std::vector<std::chrono::milliseconds> pauses,
                                  std::vector<std::chrono::nanoseconds>& late, std::string answer) {
  for (std::size_t i = 0;; ++i) {
    std::string line;
    char c = 0;
    while (c != '\n') {
      const std::size_t got = co_await stream.read_some(std::span(&c, 1));
      if (got == 0) co_return;
      line += c;
    }
    if (i < pauses.size()) co_await sleep_for(pauses[i]);
    const auto told =
        std::chrono::seconds(std::stoll(line)) + std::chrono::nanoseconds(std::stoll(line.substr(line.find(' ') + 1)));
    late.push_back(std::chrono::system_clock::now().time_since_epoch() - told);
    co_await stream.write(answer);
  }
}

class ClockProcess : public GuestProcess {
 public:
  explicit ClockProcess(std::unique_ptr<ByteStream> near) : near_(std::move(near)) {}
  ByteStream& io() override { return *near_; }
  asio::awaitable<std::size_t> read_errors(std::span<char>) override { co_return 0; }
  asio::awaitable<void> resize(TerminalSize) override { co_return; }
  asio::awaitable<int> wait_exit() override { co_return 0; }

 private:
  std::unique_ptr<ByteStream> near_;
};

/// Sets the clock of a guest that pauses so before its answers; how late the clock was after each.
std::vector<std::chrono::nanoseconds> lateness(std::vector<std::chrono::milliseconds> pauses,
                                               std::string answer = "ok\n") {
  std::vector<std::chrono::nanoseconds> late;
  auto set = [&]() -> asio::awaitable<void> {
    const auto executor = co_await asio::this_coro::executor;
    auto [near, far] = MemoryStream::pair(executor);
    const std::shared_ptr<MemoryStream> guest = std::move(far);
    auto failed = [](std::exception_ptr failure) { ASSERT_FALSE(failure); };
    asio::co_spawn(executor, guest_clock(*guest, pauses, late, answer), failed);
    GuestClock clock(std::make_unique<ClockProcess>(std::move(near)));
    co_await clock.set();
    guest->close();
  };
  run(set());
  return late;
}

TEST(GuestClock, IsSetOnceWhereTheGuestAnswersAtOnce) { EXPECT_EQ(lateness({}).size(), 1u); }

TEST(GuestClock, IsSetAgainUntilTheGuestAnswersSoonEnough) {
  const auto late = lateness({80ms, 60ms});
  ASSERT_EQ(late.size(), 3u);
  EXPECT_GE(late.front(), 80ms);
  EXPECT_LT(late.back(), 50ms);
}

TEST(GuestClock, OfASlowGuestIsSetAsOftenAsIsReasonable) {
  EXPECT_EQ(lateness(std::vector<std::chrono::milliseconds>(20, 40ms)).size(), std::size_t{GuestClock::most_tries});
}

TEST(GuestClock, TellsWhatTheGuestSays) {
  try {
    lateness({}, "Operation not permitted\n");
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::guest_failed);
    EXPECT_NE(one_line(error).find("Operation not permitted"), std::string::npos) << one_line(error);
  }
}

}  // namespace
}  // namespace cl::test
