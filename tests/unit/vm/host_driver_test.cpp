#include "vm/host/driver.hpp"

#include <gtest/gtest.h>

#include "src/base/failure.hpp"
#include "src/base/file.hpp"
#include "src/base/file_lock.hpp"
#include "tests/support/run.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl::test {
namespace {

struct Place {
  TempDir directory;
  std::filesystem::path run = directory / "run", lock = directory / "machine.lock";
  HostDriver driver;
  Place() { make_private_directory(run); }

  BootPlan plan(const FileLock& held) const {
    BootPlan plan;
    plan.remote = "ssh://me@build1";
    plan.run_directory = run;
    plan.lock = lock;
    plan.lock_fd = held.fd();
    return plan;
  }
  asio::awaitable<std::unique_ptr<Machine>> boot() {
    const auto held = FileLock::try_acquire(lock);
    auto machine = co_await driver.boot(plan(held.value()));
    co_return machine;
  }
};

asio::awaitable<void> live_and_end(Place& place) {
  auto machine = co_await place.boot();
  EXPECT_EQ(machine->remote(), "ssh://me@build1");
  EXPECT_TRUE(FileLock::is_held(place.lock)) << "as long as the host is ours";
  EXPECT_TRUE(place.driver.is_kept(place.run));
  co_await machine->power_off();
  const ExitReason reason = co_await machine->exited();
  EXPECT_TRUE(reason.clean);
  EXPECT_FALSE(FileLock::is_held(place.lock));
  EXPECT_FALSE(place.driver.is_kept(place.run));
  machine->kill();
}

TEST(HostDriver, ItsMachineIsADecisionThatLastsUntilItIsLetGo) {
  Place place;
  run(live_and_end(place));
}

asio::awaitable<void> find_again(Place& place) {
  EXPECT_EQ(co_await place.driver.attach(place.run), nullptr);
  {
    const auto lost = co_await place.boot();
  }  // its daemon was killed
  EXPECT_FALSE(FileLock::is_held(place.lock));
  EXPECT_TRUE(place.driver.is_kept(place.run));
  const auto machine = co_await place.driver.attach(place.run);
  if (!machine) throw Error(Errc::internal, "it was not found");
  EXPECT_EQ(machine->remote(), "ssh://me@build1");
  EXPECT_TRUE(FileLock::is_held(place.lock));
  EXPECT_EQ(co_await place.driver.attach(place.run), nullptr) << "another one has it";
  machine->kill();
}

TEST(HostDriver, FindsItAgainAfterItsDaemonWasKilled) {
  Place place;
  run(find_again(place));
}

asio::awaitable<std::string> why_not_paused(Place& place) {
  const auto machine = co_await place.boot();
  const auto failure = co_await failure_of(machine->pause());
  co_return failure ? one_line(*failure) : "";
}

TEST(HostDriver, NeverSleeps) {
  Place place;
  EXPECT_EQ(run(why_not_paused(place)), "a host cannot be paused: a host does not sleep for us");
  EXPECT_FALSE(place.driver.traits().own_machine);
  EXPECT_TRUE(run(place.driver.saving({})).fingerprint.empty());
}

}  // namespace
}  // namespace cl::test
