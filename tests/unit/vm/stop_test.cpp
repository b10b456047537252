#include <gtest/gtest.h>

#include "tests/fakes/fake_driver.hpp"
#include "tests/support/run.hpp"
#include "vm/driver.hpp"

namespace cl {
namespace {

using namespace std::chrono_literals;
using test::FakeDriver;
using Calls = std::vector<std::string>;

BootPlan plan_named(std::string name) {
  BootPlan plan;
  plan.name = std::move(name);
  plan.run_directory = "/run/" + plan.name;
  return plan;
}

asio::awaitable<bool> boot_and_stop(FakeDriver& driver, std::chrono::milliseconds grace) {
  BootPlan plan = plan_named("default");
  auto machine = co_await driver.boot(std::move(plan));
  co_return co_await stop_machine(*machine, grace);
}

TEST(Stop, LetsAGuestPowerOffByItself) {
  FakeDriver driver;
  EXPECT_TRUE(test::run(boot_and_stop(driver, 5s)));
  EXPECT_EQ(driver.calls, (Calls{"boot default", "power_off"}));
  EXPECT_FALSE(driver.is_running("/run/default"));
}

TEST(Stop, PressesTheButtonAgainForAGuestThatDidNotHearIt) {
  FakeDriver driver;
  driver.behaviour.deaf_presses = 2;
  const auto work = [&]() -> asio::awaitable<bool> {
    BootPlan plan = plan_named("default");
    auto machine = co_await driver.boot(std::move(plan));
    co_return co_await stop_machine(*machine, 1h, 1ms);
  };
  EXPECT_TRUE(test::run(work()));
  EXPECT_EQ(driver.calls, (Calls{"boot default", "power_off", "power_off", "power_off"}));
}

TEST(Stop, KillsAGuestThatIgnoresPoweroff) {
  FakeDriver driver;
  driver.behaviour.ignores_power_off = true;
  EXPECT_FALSE(test::run(boot_and_stop(driver, 1ms)));
  EXPECT_EQ(driver.calls, (Calls{"boot default", "power_off", "kill"}));
  EXPECT_FALSE(driver.is_running("/run/default"));
}

TEST(Stop, KillsAtOnceWhenTheHypervisorDoesNotAnswer) {
  FakeDriver driver;
  driver.behaviour.power_off_fails = true;
  EXPECT_FALSE(test::run(boot_and_stop(driver, 1h)));
  EXPECT_EQ(driver.calls, (Calls{"boot default", "power_off", "kill"}));
}

TEST(Stop, EndsAtOnceForAMachineThatIsGone) {
  FakeDriver driver;
  auto crash_and_stop = [&]() -> asio::awaitable<bool> {
    BootPlan plan = plan_named("default");
    auto machine = co_await driver.boot(std::move(plan));
    driver.crash("/run/default");
    co_return co_await stop_machine(*machine, 1h);
  };
  EXPECT_FALSE(test::run(crash_and_stop()));
}

TEST(Machine, OutlivesItsObjectAndIsFoundAgain) {
  FakeDriver driver;
  auto work = [&]() -> asio::awaitable<ExitReason> {
    BootPlan plan = plan_named("default");
    auto machine = co_await driver.boot(std::move(plan));
    machine.reset();
    auto again = co_await driver.attach("/run/default");
    if (!again) co_return ExitReason{};
    driver.crash("/run/default", {false, "the test crashed it"});
    co_return co_await again->exited();
  };
  EXPECT_EQ(test::run(work()).text, "the test crashed it");
}

TEST(Machine, TellsItsEndToEveryWaiter) {
  FakeDriver driver;
  auto work = [&]() -> asio::awaitable<int> {
    auto executor = co_await asio::this_coro::executor;
    BootPlan plan = plan_named("default");
    auto machine = co_await driver.boot(std::move(plan));
    auto group = asio::experimental::make_parallel_group(asio::co_spawn(executor, machine->exited(), asio::deferred),
                                                         asio::co_spawn(executor, machine->exited(), asio::deferred));
    machine->kill();
    auto [order, e1, first, e2, second] =
        co_await group.async_wait(asio::experimental::wait_for_all(), asio::use_awaitable);
    co_return first.text == second.text && !first.text.empty() ? 2 : 0;
  };
  EXPECT_EQ(test::run(work()), 2);
}

}  // namespace
}  // namespace cl
