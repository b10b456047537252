#include "profiles/store.hpp"

#include <gtest/gtest.h>

#include <cstdlib>

#include "src/base/file.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl {
namespace {

class Layers : public ::testing::Test {
 protected:
  Layers() : home_{dir_.path() / "home", dir_.path() / "cache"}, paths_(profile_paths(home_, "p")) {
    fs::create_directories(home_.profiles);
  }
  void write_disks(std::uintmax_t data_size) {
    write_atomically(paths_.root_disk, "");
    write_atomically(paths_.data_disk, "");
    fs::resize_file(paths_.data_disk, data_size);
  }
  /// The names of the refused keys, or nothing.
  std::string refused(const Profile& last, const Settings& flags) {
    try {
      refuse_recreation(paths_, last, load_layers(paths_, {}, flags));
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::invalid_config);
      return error.cause();
    }
    return "";
  }
  test::TempDir dir_;
  Home home_;
  ProfilePaths paths_;
};

TEST_F(Layers, ADeletedProfileIsNeitherCurrentNorPreviousAndLeavesNoFile) {
  const auto file = home_.profiles / "current";
  make_current(home_, "work");
  make_current(home_, "test");
  forget_current(home_, "work");
  EXPECT_EQ(current_profile(home_).name, "test");
  EXPECT_EQ(current_profile(home_).previous, "");
  forget_current(home_, "test");
  EXPECT_EQ(current_profile(home_).name, "default");
  EXPECT_FALSE(fs::exists(file));
  forget_current(home_, "default");
  EXPECT_FALSE(fs::exists(file)) << "what was never chosen is not written down";
}

TEST_F(Layers, LaterLayersGoOverEarlierOnesAndSayWhereAValueComesFrom) {
  write_atomically(paths_.user_template, "cpus: 1\nmemory: 1GiB\nidle: 5m\n");
  create_profile(paths_);
  write_atomically(paths_.config, "memory: 900MiB\nidle: 6m\nvm:\n  accel: tcg\n");
  const Layered layered = load_layers(paths_, {{"idle", "7m"}, {"vm.accel", "auto"}}, {{"idle", "8m"}});
  EXPECT_EQ(layered.source("disk"), Source::built_in);
  EXPECT_EQ(layered.source("cpus"), Source::template_file);
  EXPECT_EQ(layered.source("memory"), Source::file);
  EXPECT_EQ(layered.source("vm.accel"), Source::environment);
  EXPECT_EQ(layered.source("idle"), Source::flag);
  EXPECT_EQ(layered.profile.cpus, 1);
  EXPECT_EQ(layered.profile.memory, ByteSize::mib(900));
  EXPECT_EQ(layered.profile.accel, AccelWish::automatic);
  EXPECT_EQ(layered.profile.idle, std::chrono::minutes(8));
}

TEST_F(Layers, AProfileKeepsTheTemplateItWasMadeWith) {
  write_atomically(paths_.user_template, "cpus: 1\n");
  create_profile(paths_);
  write_atomically(paths_.user_template, "cpus: nonsense\n");
  EXPECT_EQ(load_profile(paths_, {}).cpus, 1);
  EXPECT_THROW(load_profile(profile_paths(home_, "new"), {}), Error);
}

TEST_F(Layers, ListSkipsWhatIsNoProfile) {
  create_profile(paths_);
  write_atomically(paths_.user_template, "");
  fs::create_directories(home_.profiles / ".import-1");
  write_atomically(home_.profiles / ".import-1" / "profile.yaml", "");
  EXPECT_EQ(list_profiles(home_), std::vector<std::string>{"p"});
}

TEST_F(Layers, TheEnvironmentSetsKeys) {
  ::setenv("COLIMA_LIKE_VM_ACCEL", "tcg", 1);
  EXPECT_EQ(environment_settings(), (Settings{{"vm.accel", "tcg"}}));
  ::unsetenv("COLIMA_LIKE_VM_ACCEL");
}

TEST_F(Layers, AllProblemsOfAllLayersAreToldTogether) {
  try {
    load_layers(paths_, {{"cpus", "many"}}, {{"memry", "1GiB"}, {"disk", "big"}});
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(error.cause().find("cpus (environment): must be a whole number"), std::string::npos) << error.cause();
    EXPECT_NE(error.cause().find("memry: unknown key; did you mean memory?"), std::string::npos);
    EXPECT_NE(error.cause().find("disk: must be a size"), std::string::npos);
  }
}

TEST_F(Layers, KeysThatNeedAnotherMachineAreRefusedOnlyWhereThereIsOne) {
  create_profile(paths_);
  const std::string other = host_facts().arch == "x86_64" ? "aarch64" : "x86_64";
  EXPECT_EQ(refused({}, {{"arch", other}}), "") << "nothing can be lost yet";
  write_disks(0);
  EXPECT_NE(refused({}, {{"arch", other}}).find("arch: from host to " + other + " would lose the machine's root disk"),
            std::string::npos);
  EXPECT_EQ(refused({}, {{"arch", host_facts().arch}}), "") << "the same by another name";
  EXPECT_NE(refused({}, {{"image", "plain"}}), "");
  EXPECT_EQ(refused({}, {{"cpus", "1"}, {"vm.accel", "tcg"}}), "");
}

TEST_F(Layers, ADataDiskNeverShrinksAndADefaultNeverAsksItTo) {
  create_profile(paths_);
  write_disks(std::uintmax_t{100} << 30);
  EXPECT_EQ(refused({}, {}), "");
  EXPECT_EQ(refused({}, {{"disk", "100GiB"}}), "");
  EXPECT_NE(refused({}, {{"disk", "99GiB"}}).find("disk: from 100GiB to 99GiB would lose the containers' data"),
            std::string::npos);
  write_atomically(paths_.config, "disk: 60GiB\n");
  EXPECT_NE(refused({}, {}), "") << "the file asks for it";
}

}  // namespace
}  // namespace cl
