#include "src/daemon/services/idle.hpp"

#include <gtest/gtest.h>

#include "tests/unit/daemon/session_lab.hpp"

namespace cl {
namespace {

using namespace std::chrono_literals;
using test::outcome;
using test::SessionLab;
using Use = AwakeReasons::Use;

TEST(AwakeReasons, AreWhatLastsAndWhatWasLessThanIdleAgo) {
  AwakeReasons reasons;
  const std::vector<Use> uses{{"clients", "docker client (GET /info)", 990}, {"ports", "2 connections", 0}};
  const std::vector<AwakeReason> both{{"docker client (GET /info)", 990, 990}, {"2 connections", 1000, 0}};
  EXPECT_EQ(reasons.look(uses, 1000, 60s), both);
  EXPECT_EQ(reasons.look({uses[0]}, 1050, 60s), std::vector<AwakeReason>{}) << "that would let it sleep";
  EXPECT_EQ(reasons.look({uses[0]}, 1050, 0s).size(), 1u) << "it never sleeps, and that was a minute ago";
}

TEST(AwakeReasons, GoOnSinceTheyBeganUntilThereWasAGap) {
  AwakeReasons reasons;
  auto since = [&](std::time_t last, std::time_t now) {
    const auto found = reasons.look({{"clients", "docker client", last}}, now, 60s);
    return found.empty() ? 0 : found[0].since;
  };
  EXPECT_EQ(since(100, 100), 100);
  EXPECT_EQ(since(150, 150), 100);
  EXPECT_EQ(since(200, 205), 100);
  EXPECT_EQ(since(200, 260), 0);
  EXPECT_EQ(since(300, 300), 300);
}

TEST(IdlePolicy, WritesDownWhyTheMachineIsAwake) {
  SessionLab lab;
  auto life = [&]() -> asio::awaitable<void> {
    auto session = co_await lab.open();
    {
      const Session::Use use(*session);
      EXPECT_EQ(co_await outcome(session->start({})), "");
      while (session->state().awake.empty()) co_await session->changed();
      EXPECT_EQ(session->state().awake[0].what, "1 session of colima-like");
      EXPECT_EQ(session->state().awake[0].last, 0);
    }
    EXPECT_EQ(co_await outcome(session->stop(false)), "");
    EXPECT_TRUE(session->state().awake.empty());
    co_await SessionLab::close(std::move(session));
  };
  test::run(life());
}

}  // namespace
}  // namespace cl
