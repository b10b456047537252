#include "provision/clock.hpp"

#include <gtest/gtest.h>

#include <ctime>
#include <utility>

#include "src/base/task_group.hpp"
#include "tests/fakes/local_guest.hpp"
#include "tests/fakes/memory_messages.hpp"
#include "tests/support/run.hpp"

namespace cl::test {
namespace {

using namespace std::chrono_literals;

/// Answers each message after the next of `pauses` (at once when there is none left), and notes how old its time was
/// then.
asio::awaitable<void> guest_clock(ServiceGuest& guest, std::vector<std::chrono::milliseconds> pauses,
                                  std::vector<std::chrono::nanoseconds>& late, std::string answer) {
  while (!guest.agent) co_await guest.begun.wait();
  EXPECT_EQ(guest.asked, "clock");
  for (std::size_t i = 0;; ++i) {
    const auto time = co_await guest.agent->read();
    if (!time) co_return;
    if (i < pauses.size()) co_await sleep_for(pauses[i]);
    const auto told =
        std::chrono::seconds(std::stoll(*time)) + std::chrono::nanoseconds(std::stoll(time->substr(time->find(' '))));
    late.push_back(std::chrono::system_clock::now().time_since_epoch() - told);
    co_await guest.agent->write(answer);
  }
}

/// Sets the clock of a guest that pauses so before its answers; how late the clock was after each.
std::vector<std::chrono::nanoseconds> lateness(std::vector<std::chrono::milliseconds> pauses,
                                               std::string answer = "ok") {
  std::vector<std::chrono::nanoseconds> late;
  auto set = [&]() -> asio::awaitable<std::string> {
    const auto executor = co_await asio::this_coro::executor;
    const auto guest = std::make_shared<ServiceGuest>(executor);
    TaskGroup tasks(executor);
    tasks.spawn("the guest's clock", guest_clock(*guest, pauses, late, answer));
    std::optional<Error> failure;
    try {
      co_await set_guest_clock(guest);
    } catch (const Error& error) {
      failure = error;
    }
    co_await tasks.stop();
    if (failure) throw *failure;
    co_return "";
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
  EXPECT_EQ(lateness(std::vector<std::chrono::milliseconds>(20, 40ms)).size(), std::size_t{most_clock_tries});
}

TEST(GuestClock, TellsWhatTheGuestSays) {
  try {
    lateness({}, "error Operation not permitted");
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::guest_failed);
    EXPECT_EQ(one_line(error), "the guest's clock could not be set: Operation not permitted");
  }
}

TEST(GuestClock, OfAGuestWithoutAnAgentIsSetByACommand) {
  std::string command;
  auto set = [&command]() -> asio::awaitable<void> {
    const auto guest = std::make_shared<LocalGuest>(co_await asio::this_coro::executor);
    guest->rewrite = [&command](std::string& wanted) { command = std::exchange(wanted, "true"); };
    co_await set_guest_clock(guest);
  };
  const double before = static_cast<double>(std::time(nullptr));
  run(set());
  ASSERT_TRUE(command.starts_with("date -u -s @")) << command;
  EXPECT_NEAR(std::stod(command.substr(12)), before, 5);
}

}  // namespace
}  // namespace cl::test
