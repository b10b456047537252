#include "src/daemon/job.hpp"

#include <gtest/gtest.h>

#include "tests/support/run.hpp"

namespace cl {
namespace {

asio::awaitable<boost::json::object> two_phases(Job& job) {
  job.begin("a", "doing a");
  job.say("still doing a");
  job.begin("b", "doing b");
  job.end("did b");
  co_return boost::json::object{{"answer", 42}};
}

asio::awaitable<boost::json::object> for_ever(Job& job) {
  job.begin("a", "waiting");
  co_await sleep_for(std::chrono::hours(1));
  co_return boost::json::object{};
}

asio::awaitable<std::vector<std::string>> watch(std::shared_ptr<Job> job) {
  std::vector<std::string> told;
  std::size_t position = 0;
  for (;;) {
    const auto progress = co_await job->next(position);
    if (!progress) co_return told;
    told.push_back(progress->phase + ":" + progress->text + (progress->done ? "." : ""));
  }
}

TEST(Job, TellsEveryPhaseToWhoeverWatchesEvenLate) {
  auto both = []() -> asio::awaitable<std::vector<std::string>> {
    auto job = Job::run(co_await asio::this_coro::executor, Job::Kind::start, &two_phases);
    auto early = co_await watch(job);
    auto late = co_await watch(job);
    EXPECT_EQ(early, late);
    co_return early;
  };
  EXPECT_EQ(test::run(both()), (std::vector<std::string>{"a:still doing a.", "b:did b."}));
}

/// One that tells its progress twice a second for an hour.
asio::awaitable<boost::json::object> talkative(Job& job) {
  job.begin("a", "0");
  for (int i = 1; i <= 10'000; ++i) job.say(std::to_string(i));
  job.end("done");
  co_return boost::json::object{};
}

TEST(Job, KeepsTheNewestTextOfAPhaseAlone) {
  auto late = []() -> asio::awaitable<std::vector<std::string>> {
    auto job = Job::run(co_await asio::this_coro::executor, Job::Kind::start, &talkative);
    co_await job->ended();
    co_return co_await watch(job);
  };
  EXPECT_EQ(test::run(late()), (std::vector<std::string>{"a:done."}));
}

TEST(Job, GivesItsResultToEverybody) {
  auto twice = []() -> asio::awaitable<std::int64_t> {
    auto job = Job::run(co_await asio::this_coro::executor, Job::Kind::start, &two_phases);
    const auto first = co_await job->result();
    const auto second = co_await job->result();
    EXPECT_EQ(first, second);
    co_return first.at("answer").as_int64();
  };
  EXPECT_EQ(test::run(twice()), 42);
}

TEST(Job, ACancelledOneEndsAsInterruptedForItsWatchers) {
  auto cancel = []() -> asio::awaitable<Errc> {
    auto job = Job::run(co_await asio::this_coro::executor, Job::Kind::start, &for_ever);
    std::size_t position = 0;
    co_await job->next(position);
    job->cancel();
    try {
      co_await job->result();
    } catch (const Error& error) {
      co_return error.code();
    }
    co_return Errc::internal;
  };
  EXPECT_EQ(test::run(cancel()), Errc::cancelled);
}

TEST(Job, AWatcherThatLeavesEndsNothing) {
  auto leave = []() -> asio::awaitable<bool> {
    auto executor = co_await asio::this_coro::executor;
    auto job = Job::run(executor, Job::Kind::start, &for_ever);
    try {
      co_await with_timeout(std::chrono::milliseconds(1), "watching", watch(job));
    } catch (const Error&) {
    }
    const bool done = job->done();
    job->cancel();
    co_return done;
  };
  EXPECT_FALSE(test::run(leave()));
}

}  // namespace
}  // namespace cl
