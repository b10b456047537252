#include "src/daemon/phase.hpp"

#include <gtest/gtest.h>

#include "tests/fakes/fake_driver.hpp"
#include "tests/support/run.hpp"

namespace cl {
namespace {

LiveMachine some_machine(test::FakeDriver& driver) {
  auto boot = [&driver]() -> asio::awaitable<std::unique_ptr<Machine>> {
    BootPlan plan;
    plan.name = "default";
    co_return co_await driver.boot(std::move(plan));
  };
  return LiveMachine(test::run(boot()));
}

class Phases : public ::testing::Test {
 protected:
  test::FakeDriver driver_;
  LiveMachine machine_ = some_machine(driver_);
  std::vector<Phase> all_{phase::Stopped{},         phase::Saved{},
                          phase::Preparing{},       phase::Booting{machine_},
                          phase::Running{machine_}, phase::Degraded{machine_},
                          phase::Blocked{machine_}, phase::Suspending{machine_},
                          phase::Paused{machine_},  phase::Stopping{machine_},
                          phase::Unreachable{}};
};

TEST_F(Phases, EachKindIsThere) { EXPECT_EQ(all_.size(), std::variant_size_v<Phase>); }

TEST_F(Phases, EachOneCanBeLeftForStopped) {
  for (const Phase& from : all_) {
    if (is<phase::Stopped>(from)) continue;
    EXPECT_TRUE(may_follow(from, phase::Stopped{})) << to_string(from);
  }
}

TEST_F(Phases, OneThatHasAMachineSaysWhich) {
  for (const Phase& one : all_) {
    const bool none = is<phase::Stopped, phase::Saved, phase::Preparing, phase::Unreachable>(one);
    EXPECT_EQ(machine_of(one).has_value(), !none) << to_string(one);
  }
}

TEST_F(Phases, AMachineIsOnlySavedWhileItIsSuspendedOrStarts) {
  for (const Phase& from : all_) {
    const bool may =
        is<phase::Suspending, phase::Booting, phase::Preparing, phase::Stopping, phase::Stopped, phase::Unreachable>(
            from);
    EXPECT_EQ(may_follow(from, phase::Saved{}), may) << to_string(from);
  }
}

}  // namespace
}  // namespace cl
