#include "src/cli/socket_link.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/base/error.hpp"
#include "src/base/file.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl::cli {
namespace {

class SocketLink : public ::testing::Test {
 protected:
  fs::path at() const { return dir_ / "docker.sock"; }
  fs::path profiles() const { return dir_ / "home"; }
  fs::path socket(const std::string& name) const { return profiles() / name / "docker.sock"; }
  void link(const std::string& name) { link_socket(at(), socket(name), profiles()); }
  bool unlink() { return unlink_socket(at(), profiles()); }
  fs::path target() const { return fs::read_symlink(at()); }
  std::size_t files() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(dir_.path()), fs::directory_iterator()));
  }

  test::TempDir dir_;
};

TEST_F(SocketLink, IsMadeAndTakenAway) {
  link("default");
  EXPECT_EQ(target(), socket("default"));
  EXPECT_TRUE(unlink());
  EXPECT_EQ(files(), 0u);
  EXPECT_FALSE(unlink()) << "there is none any more";
}

TEST_F(SocketLink, MovesToAnotherProfile) {
  link("default");
  link("work");
  EXPECT_EQ(target(), socket("work"));
  EXPECT_TRUE(unlink());
  EXPECT_EQ(files(), 0u) << "the link to the first profile is nothing to come back to";
}

TEST_F(SocketLink, GivesBackTheLinkOfOthersAlsoOneThatLeadsNowhere) {
  fs::create_symlink("/nowhere/engine.sock", at());
  link("default");
  link("work");
  EXPECT_TRUE(unlink());
  EXPECT_EQ(target(), "/nowhere/engine.sock");
  EXPECT_EQ(files(), 1u);
}

TEST_F(SocketLink, LeavesTheLinkOfOthersAlone) {
  fs::create_symlink("/nowhere/engine.sock", at());
  EXPECT_FALSE(unlink());
  EXPECT_EQ(target(), "/nowhere/engine.sock");
  fs::remove(at());
  fs::create_symlink(profiles().string() + "-of-another/default/docker.sock", at());
  EXPECT_FALSE(unlink());
}

TEST_F(SocketLink, RefusesWhatIsNoLink) {
  write_atomically(at(), "an engine's socket");
  try {
    link("default");
    FAIL() << "it was replaced";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::busy);
  }
  EXPECT_EQ(read_file(at()), "an engine's socket");
  EXPECT_EQ(files(), 1u);
}

TEST_F(SocketLink, TellsWhenThisUserMayNot) {
  fs::permissions(dir_.path(), fs::perms::owner_read | fs::perms::owner_exec);
  // Root may everything, so this is tried as nobody, who may not even enter.
  const pid_t child = ::fork();
  if (child == 0) {
    if (::geteuid() == 0 && ::setuid(65534) != 0) ::_exit(3);
    try {
      link("default");
    } catch (const Error& error) {
      ::_exit(error.code() == Errc::host_requirement ? 0 : 1);
    }
    ::_exit(2);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  fs::permissions(dir_.path(), fs::perms::owner_all);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace cl::cli
