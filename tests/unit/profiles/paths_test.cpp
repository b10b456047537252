#include "profiles/paths.hpp"

#include <gtest/gtest.h>

#include "profiles/store.hpp"
#include "src/base/error.hpp"
#include "src/base/file.hpp"
#include "src/base/platform.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl {
namespace {

TEST(ProfileName, RefusesWhatIsNoPlainName) {
  for (const char* name : {"", "../evil", "a/b", ".", "..", "-x", "_x", "Ünicode", "UPPER", "a b", "a\n", "a.b"})
    EXPECT_THROW(profile_paths({"/h", "/c"}, name), Error) << name;
  EXPECT_THROW(profile_paths({"/h", "/c"}, std::string(33, 'a')), Error);
  EXPECT_NO_THROW(profile_paths({"/h", "/c"}, std::string(32, 'a')));
  EXPECT_NO_THROW(profile_paths({"/h", "/c"}, "my-profile_2"));
}

TEST(ProfilePaths, RefusesAPathThatIsTooLongForASocket) {
  const std::size_t fixed = std::string("/default/run/daemon.sock").size();
  const std::string longest = "/" + std::string(platform::max_socket_path() - fixed - 1, 'h');
  EXPECT_NO_THROW(profile_paths({longest, "/c"}, "default"));
  try {
    profile_paths({longest + "h", "/c"}, "default");
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::invalid_config);
    EXPECT_NE(error.remedy().find("COLIMA_LIKE_HOME"), std::string::npos);
  }
}

TEST(HostName, HasNoUnderscore) {
  EXPECT_EQ(host_name("default"), "colima-like");
  EXPECT_EQ(host_name("a_b"), "colima-like-a-b");
}

TEST(Store, ACreatedProfileIsPrivateListedAndLoadsAsTheDefaults) {
  const test::TempDir home;
  const ProfilePaths paths = profile_paths({home.path(), "/c"}, "work");
  create_profile(paths);
  EXPECT_EQ(list_profiles({home.path(), "/c"}), std::vector<std::string>{"work"});
  EXPECT_EQ(load_profile(paths, {}), Profile{});
  EXPECT_EQ(fs::status(paths.directory).permissions(), fs::perms::owner_all);
  EXPECT_EQ(fs::status(paths.config).permissions(), fs::perms::owner_read | fs::perms::owner_write);
}

TEST(Store, AnExistingFileIsNeverTouched) {
  const test::TempDir home;
  const ProfilePaths paths = profile_paths({home.path(), "/c"}, "work");
  create_profile(paths);
  write_atomically(paths.config, "# mine\ncpus: 1\n");
  create_profile(paths);
  EXPECT_EQ(read_file(paths.config), "# mine\ncpus: 1\n");
}

TEST(Store, FlagsGoOverTheFile) {
  const test::TempDir home;
  const ProfilePaths paths = profile_paths({home.path(), "/c"}, "work");
  create_profile(paths);
  write_atomically(paths.config, "cpus: 1\nmemory: 1GiB\n");
  EXPECT_EQ(load_profile(paths, {{"memory", "600MiB"}}).memory, ByteSize::mib(600));
  EXPECT_EQ(load_profile(paths, {{"memory", "600MiB"}}).cpus, 1);
}

TEST(Store, AnInvalidFileIsAnErrorThatNamesTheFile) {
  const test::TempDir home;
  const ProfilePaths paths = profile_paths({home.path(), "/c"}, "work");
  create_profile(paths);
  write_atomically(paths.config, "cpus: many\n");
  try {
    load_profile(paths, {});
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::invalid_config);
    EXPECT_NE(error.cause().find(paths.config.string() + ":1:7"), std::string::npos) << error.cause();
  }
}

}  // namespace
}  // namespace cl
