#include <gtest/gtest.h>
#include <sys/stat.h>

#include "provision/ssh/keys.hpp"
#include "src/base/file.hpp"
#include "tests/support/run.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl::test {
namespace {

unsigned mode_of(const fs::path& path) {
  struct stat status{};
  return ::stat(path.c_str(), &status) == 0 ? status.st_mode & 07777U : 0;
}

std::size_t entries_in(const fs::path& directory) {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator(directory)) ++count;
  return count;
}

TEST(Keys, AreMadePrivateAndComplete) {
  TempDir directory;
  const KeySet keys = run(ensure_keys(directory / "keys"));
  for (const auto& file :
       {keys.private_key, keys.public_key, keys.host_private_key, keys.host_public_key, keys.authorized_keys})
    EXPECT_EQ(mode_of(file), 0600U) << file;
  EXPECT_EQ(mode_of(directory / "keys"), 0700U);
  EXPECT_TRUE(read_file(keys.private_key).starts_with("-----BEGIN OPENSSH PRIVATE KEY-----"));
  EXPECT_EQ(read_file(keys.authorized_keys), read_file(keys.public_key));
  EXPECT_EQ(keys.host_key + "\n", read_file(keys.host_public_key));
  EXPECT_NE(read_file(keys.host_public_key), read_file(keys.public_key));
  EXPECT_EQ(entries_in(directory / "keys"), 5U) << "nothing is left of the making";
}

TEST(Keys, StayTheSame) {
  TempDir directory;
  const KeySet keys = run(ensure_keys(directory.path()));
  const std::string ours = read_file(keys.private_key), hosts = read_file(keys.host_private_key);
  const KeySet again = run(ensure_keys(directory.path()));
  EXPECT_EQ(read_file(again.private_key), ours);
  EXPECT_EQ(read_file(again.host_private_key), hosts);
  EXPECT_EQ(again.host_key, keys.host_key);
}

TEST(Keys, AreRepairedWithoutReplacingAPrivateKey) {
  TempDir directory;
  const KeySet keys = run(ensure_keys(directory.path()));
  const std::string secret = read_file(keys.private_key), line = read_file(keys.public_key);
  fs::remove(keys.public_key);
  write_atomically(keys.host_public_key, "ssh-ed2");
  write_atomically(keys.authorized_keys, "");
  fs::permissions(keys.private_key, fs::perms(0644));
  const KeySet again = run(ensure_keys(directory.path()));
  EXPECT_EQ(read_file(again.private_key), secret);
  EXPECT_EQ(mode_of(again.private_key), 0600U);
  EXPECT_EQ(read_file(again.public_key), line);
  EXPECT_EQ(read_file(again.authorized_keys), line);
  EXPECT_EQ(again.host_key, keys.host_key);
}

TEST(Keys, WhoseMakingWasKilledAreMadeAnew) {
  TempDir directory;
  const KeySet keys = run(ensure_keys(directory.path()));
  const std::string line = read_file(keys.public_key);
  // The state between the two renames, and a working directory of the killed run.
  fs::remove(keys.private_key);
  fs::create_directory(directory / ".keygen-abc");
  write_atomically(directory / ".keygen-abc/key", "half");
  const KeySet again = run(ensure_keys(directory.path()));
  EXPECT_NE(read_file(again.public_key), line);
  EXPECT_EQ(read_file(again.authorized_keys), read_file(again.public_key));
  EXPECT_EQ(again.host_key, keys.host_key);
  EXPECT_FALSE(fs::exists(directory / ".keygen-abc"));
}

TEST(Keys, ThatCannotBeReadAreAnErrorAndStay) {
  TempDir directory;
  const KeySet keys = run(ensure_keys(directory.path()));
  write_atomically(keys.private_key, "not a key\n");
  fs::remove(keys.public_key);
  EXPECT_THROW(run(ensure_keys(directory.path())), Error);
  EXPECT_EQ(read_file(keys.private_key), "not a key\n");
}

}  // namespace
}  // namespace cl::test
