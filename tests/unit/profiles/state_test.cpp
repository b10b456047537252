#include "profiles/state.hpp"

#include <gtest/gtest.h>

#include "profiles/store.hpp"
#include "src/base/file.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl {
namespace {

class StateFile : public ::testing::Test {
 protected:
  StateFile() { create_profile(paths_); }
  void save(const State& state) {
    const auto lock = FileLock::try_acquire(paths_.lock);
    ASSERT_TRUE(lock);
    save_state(*lock, paths_, state);
  }
  test::TempDir home_;
  ProfilePaths paths_ = profile_paths({home_.path(), "/c"}, "default");
};

TEST_F(StateFile, ComesBackAsItWasSaved) {
  State state;
  state.phase = "running";
  state.since = 1234567890123;
  state.profile.cpus = 1;
  state.profile.memory = ByteSize::mib(768);
  state.accel = "tcg";
  state.machine_pid = 42;
  state.previous_context = "desktop";
  state.docker_environment = {{"DOCKER_CONFIG", "/x"}};
  state.host_sockets = {{{"/a.sock", "/l"}, "/a.sock", "/g.sock", true, "it is gone"}, {{"/n"}, "", "/n", false, ""}};
  state.ssh_agent = "/tmp/agent.7";
  state.agent = {"it cannot be executed", 3, "it is lost", 7, 2, "too many streams", 8};
  state.awake = {{"docker client (GET /info)", 5, 0}, {"2 containers run", 6, 7}};
  state.rosetta = true;
  state.platforms = {{"linux/amd64", "qemu-user", true, "rosetta failed: x"}, {"linux/386", "none", false, "why"}};
  save(state);
  const auto loaded = load_state(paths_);
  ASSERT_TRUE(loaded);
  EXPECT_EQ(loaded->phase, "running");
  EXPECT_EQ(loaded->since, 1234567890123);
  EXPECT_EQ(loaded->profile, state.profile);
  EXPECT_EQ(loaded->machine_pid, 42);
  EXPECT_EQ(loaded->previous_context, "desktop");
  EXPECT_EQ(loaded->docker_environment, state.docker_environment);
  EXPECT_EQ(loaded->host_sockets, state.host_sockets);
  EXPECT_EQ(loaded->ssh_agent, state.ssh_agent);
  EXPECT_EQ(loaded->agent, state.agent);
  EXPECT_EQ(loaded->awake, state.awake);
  EXPECT_TRUE(loaded->rosetta);
  EXPECT_EQ(loaded->platforms, state.platforms);
}

TEST_F(StateFile, WordsOfTheGuestThatAreNoUtf8DoNotMakeItUnreadable) {
  State state;
  state.reason = "docker says \xff";
  state.agent.problem = std::string("cut in \xc3");
  state.awake = {{"docker client (GET /containers/\xff/json)", 5, 0}};
  save(state);
  const auto loaded = load_state(paths_);
  ASSERT_TRUE(loaded);
  EXPECT_EQ(loaded->reason, "docker says \\xff");
  EXPECT_EQ(loaded->agent.problem, "cut in \\xc3");
  EXPECT_EQ(loaded->awake.front().what, "docker client (GET /containers/\\xff/json)");
}

TEST_F(StateFile, AnUnreadableOneIsAnErrorWithARemedy) {
  for (const char* bytes : {"", "{", "[]", "{\"format\":1}", "{\"format\":2}", "\xff"}) {
    write_atomically(paths_.state, bytes);
    try {
      load_state(paths_);
      ADD_FAILURE() << "accepted " << bytes;
    } catch (const Error& error) {
      EXPECT_FALSE(error.remedy().empty());
    }
  }
}

TEST_F(StateFile, OneOfAnOlderProgramLacksKeysAndIsReadAllTheSame) {
  write_atomically(paths_.state,
                   R"({"format":1,"phase":"stopped","since":7,"settings":{},"machine_pid":0,"docker_environment":{}})");
  const auto loaded = load_state(paths_);
  ASSERT_TRUE(loaded);
  EXPECT_EQ(loaded->since, 7);
  EXPECT_FALSE(loaded->data_ready);
}

TEST_F(StateFile, WhatCannotBeLookedAtIsAnErrorOfOurs) {
  fs::remove(paths_.config);
  fs::create_symlink(paths_.config, paths_.config);
  EXPECT_THROW(observe(paths_), Error);
}

TEST_F(StateFile, NoFileMeansStoppedForTheObserver) {
  const Observed seen = observe(paths_);
  EXPECT_TRUE(seen.exists);
  EXPECT_FALSE(seen.machine_alive);
  EXPECT_EQ(seen.state.phase, "stopped");
}

TEST_F(StateFile, ARunningStateWithoutAMachineIsSeenAsStoppedUnexpectedly) {
  State state;
  state.phase = "running";
  save(state);
  EXPECT_EQ(observe(paths_).state.phase, "stopped");
  EXPECT_EQ(observe(paths_).state.reason, "the machine ended unexpectedly");
}

TEST_F(StateFile, AMachineWithoutADaemonIsSeenAsDegraded) {
  State state;
  state.phase = "running";
  save(state);
  const auto machine = FileLock::try_acquire(paths_.machine_lock);
  EXPECT_EQ(observe(paths_).state.phase, "degraded");
}

TEST_F(StateFile, ADaemonAndItsMachineAreSeenAsTheySay) {
  State state;
  state.phase = "running";
  save(state);
  const auto machine = FileLock::try_acquire(paths_.machine_lock);
  const auto daemon = FileLock::try_acquire(paths_.lock);
  EXPECT_EQ(observe(paths_).state.phase, "running");
}

TEST_F(StateFile, AnInterruptedStartIsSeenAsStopped) {
  State state;
  state.phase = "starting";
  save(state);
  EXPECT_EQ(observe(paths_).state.phase, "stopped");
  EXPECT_EQ(observe(paths_).state.reason, "a start was interrupted");
}

}  // namespace
}  // namespace cl
