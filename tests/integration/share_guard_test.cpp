// A real virtiofsd, whose guest's root asks for what is hidden from it.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>

#include "src/base/file.hpp"
#include "tests/integration/virtiofs_guest.hpp"
#include "tests/support/run.hpp"
#include "tests/support/temp_dir.hpp"
#include "vm/qemu/command_line.hpp"
#include "vm/qemu/virtiofsd.hpp"

namespace cl {
namespace {

using namespace std::chrono_literals;
using test::VirtiofsGuest;

class GuardedVirtiofsd : public testing::Test {
 protected:
  void SetUp() override {
    const char* cache = std::getenv("HOME");
    server_ = find_virtiofsd(fs::path(cache != nullptr ? cache : "/") / ".cache/colima-like/tools/bin");
    if (!server_) GTEST_SKIP() << "there is no virtiofsd on this host: scripts/setup --virtiofsd";
    make_private_directory(dir_ / "run");
    for (const char* folder : {".ssh", ".config/gcloud", ".config/fish", "work"})
      fs::create_directories(home() / folder);
    write_atomically(home() / ".ssh/id", "secret\n");
    write_atomically(home() / ".config/gcloud/token", "secret\n");
    write_atomically(home() / ".config/fish/config.fish", "as it was\n");
    write_atomically(home() / ".bashrc", "as it was\n");
    write_atomically(home() / "work/file", "mine\n");
  }
  fs::path home() const { return fs::canonical(dir_.path()) / "home"; }
  /// Serves the home as a machine would have it, and calls `as_guest` with what its root can ask.
  void serve(std::function<void(VirtiofsGuest&)> as_guest, bool hides = true) {
    BootPlan plan;
    plan.run_directory = dir_ / "run";
    plan.share_server = *server_;
    BootShare share{"share0", home(), false, {}, {}};
    if (hides) {
      share.hidden = {home() / ".aws", home() / ".config/gcloud", home() / ".docker/config.json", home() / ".ssh"};
      share.kept = {home() / ".bashrc", home() / ".config/fish", home() / ".zshrc"};
    }
    plan.shares = {share};
    const UniqueFd log(::open((dir_ / "log").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    auto work = [&]() -> asio::awaitable<void> {
      std::vector<ShareServer> servers = co_await start_share_servers(plan, log.get());
      std::string failure;
      try {
        VirtiofsGuest guest(share_socket(plan.run_directory, "share0"));
        as_guest(guest);
      } catch (const std::exception& error) {
        failure = error.what();
      }
      EXPECT_EQ(failure, "") << read_file(dir_ / "log");
      for (ShareServer& server : servers) co_await end_share_server(server);
    };
    test::run(work(), 60s);
  }
  static std::string text_of(VirtiofsGuest& guest, const std::string& path) {
    const std::uint64_t node = guest.walk(path);
    if (node == 0) return "no such name";
    const auto opened = guest.open(node, O_RDONLY);
    return opened.error != 0 ? "not opened" : guest.read(node, opened.number()).data;
  }

  test::TempDir dir_;
  std::optional<fs::path> server_;
};

TEST_F(GuardedVirtiofsd, ServesWhatIsNotHiddenAsEver) {
  serve([&](VirtiofsGuest& guest) {
    EXPECT_EQ(text_of(guest, "work/file"), "mine\n");
    EXPECT_EQ(text_of(guest, ".bashrc"), "as it was\n");
    EXPECT_EQ(text_of(guest, ".config/fish/config.fish"), "as it was\n");
    const std::uint64_t work = guest.walk("work");
    EXPECT_EQ(guest.create(work, "new").error, 0);
    EXPECT_EQ(guest.make_folder(VirtiofsGuest::root, "more").error, 0);
    EXPECT_EQ(guest.rename(work, "new", guest.walk("more"), "moved").error, 0);
    EXPECT_EQ(guest.link(guest.walk("work/file"), work, "again").error, 0);
    EXPECT_EQ(guest.change_mode(guest.walk("work/file"), 0600).error, 0);
    EXPECT_EQ(guest.truncate(guest.walk("work/file")).error, 0);
    EXPECT_EQ(guest.unlink(work, "again").error, 0);
    const auto opened = guest.open_folder(VirtiofsGuest::root);
    ASSERT_EQ(opened.error, 0);
    const auto listed = guest.list(VirtiofsGuest::root, opened.number());
    for (const char* name : {".ssh", ".bashrc", "work", "more"})
      EXPECT_NE(listed.data.find(name), std::string::npos)
          << name << ": a name does not keep the others from being listed";
  });
  EXPECT_TRUE(fs::exists(home() / "more/moved"));
}

TEST_F(GuardedVirtiofsd, WithoutItsGuardTheSameQuestionsAreAnswered) {
  serve([&](VirtiofsGuest& guest) { EXPECT_EQ(text_of(guest, ".ssh/id"), "secret\n"); }, false);
}

TEST_F(GuardedVirtiofsd, ShowsOfWhatIsHiddenTheNameAlone) {
  serve([&](VirtiofsGuest& guest) {
    const std::uint64_t ssh = guest.walk(".ssh");
    ASSERT_NE(ssh, 0U) << "something can be mounted there";
    EXPECT_EQ(guest.lookup(ssh, "id").error, EACCES);
    EXPECT_EQ(guest.lookup(ssh, "none").error, EACCES);
    EXPECT_EQ(guest.open_folder(ssh).error, EACCES);
    EXPECT_EQ(guest.create(ssh, "authorized_keys").error, EACCES);
    EXPECT_EQ(guest.make_folder(ssh, "new").error, EACCES);
    EXPECT_EQ(guest.change_mode(ssh, 0777).error, EACCES);
    EXPECT_EQ(guest.unlink(ssh, "id").error, EACCES);
    EXPECT_EQ(guest.rename(ssh, "id", VirtiofsGuest::root, "id").error, EACCES);
    EXPECT_EQ(guest.lookup(guest.walk(".config/gcloud"), "token").error, EACCES);
    EXPECT_NE(guest.lookup(VirtiofsGuest::root, ".ssh/id").error, 0) << "a name with a slash";
    EXPECT_NE(guest.lookup(guest.walk("work"), "../.ssh/id").error, 0);
    const auto up = guest.lookup(guest.walk("work"), "..");
    if (up.error == 0) EXPECT_EQ(guest.lookup(guest.lookup(up.number(), ".ssh").number(), "id").error, EACCES);
  });
}

TEST_F(GuardedVirtiofsd, NothingHiddenGetsAnotherName) {
  serve([&](VirtiofsGuest& guest) {
    const std::uint64_t root = VirtiofsGuest::root;
    EXPECT_EQ(guest.rename(root, ".ssh", root, "open").error, EACCES);
    EXPECT_EQ(guest.rename(root, ".config", root, "open").error, EACCES);
    constexpr std::uint32_t exchange = 2;
    EXPECT_EQ(guest.rename(root, "work", root, ".config", exchange).error, EACCES);
    EXPECT_EQ(guest.rename(root, ".config", guest.walk("work"), "open").error, EACCES);
    EXPECT_EQ(guest.link(guest.walk(".bashrc"), root, "open").error, EACCES);
    EXPECT_EQ(guest.symlink(root, "open", ".ssh").error, 0)
        << "it leads to what the guest's own kernel asks for by name";
    EXPECT_EQ(guest.lookup(guest.walk("open"), "id").error == 0, false);
  });
  EXPECT_EQ(read_file(home() / ".ssh/id"), "secret\n");
  EXPECT_TRUE(fs::exists(home() / ".config/gcloud/token"));
}

TEST_F(GuardedVirtiofsd, WhatIsMadeLaterIsHiddenAsWell) {
  serve([&](VirtiofsGuest& guest) {
    const std::uint64_t root = VirtiofsGuest::root;
    EXPECT_EQ(guest.make_folder(root, ".aws").error, EACCES) << "the guest would have it before this computer";
    EXPECT_EQ(guest.symlink(root, ".aws", "work").error, EACCES);
    EXPECT_EQ(guest.symlink(root, ".docker", "work").error, EACCES) << "a link above is as good";
    EXPECT_EQ(guest.rename(root, "work", root, ".aws").error, EACCES);
    fs::create_directories(home() / ".aws");
    write_atomically(home() / ".aws/credentials", "secret\n");
    const std::uint64_t aws = guest.walk(".aws");
    EXPECT_EQ(guest.lookup(aws, "credentials").error, EACCES);
    EXPECT_EQ(guest.open_folder(aws).error, EACCES);
    // Made anew, and a file that is replaced as programs do it.
    fs::remove_all(home() / ".ssh");
    fs::create_directories(home() / ".ssh");
    write_atomically(home() / ".ssh/id", "new\n");
    EXPECT_EQ(guest.lookup(guest.walk(".ssh"), "id").error, EACCES);
    fs::create_directories(home() / ".docker");
    std::uint64_t old = 0;
    for (int round = 0; round < 2; ++round) {
      write_atomically(home() / ".docker/config.json", "secret\n");
      if (old != 0) EXPECT_EQ(guest.open(old, O_RDONLY).error, EACCES) << "what was replaced is a secret, too";
      old = guest.walk(".docker/config.json");
      EXPECT_EQ(text_of(guest, ".docker/config.json"), "not opened");
    }
    EXPECT_EQ(guest.link(guest.walk(".docker/config.json"), root, "open").error, EACCES);
  });
}

TEST_F(GuardedVirtiofsd, WhatShellsRunIsNotWritten) {
  serve([&](VirtiofsGuest& guest) {
    const std::uint64_t root = VirtiofsGuest::root;
    for (int round = 0; round < 2; ++round) {
      const std::uint64_t file = guest.walk(".bashrc");
      EXPECT_EQ(guest.open(file, O_WRONLY).error, EACCES);
      EXPECT_EQ(guest.open(file, O_RDWR).error, EACCES);
      EXPECT_EQ(guest.truncate(file).error, EACCES);
      EXPECT_EQ(guest.change_mode(file, 0666).error, EACCES);
      write_atomically(home() / ".bashrc", "as it was\n");  // replaced, as editors do
    }
    EXPECT_EQ(guest.unlink(root, ".bashrc").error, EACCES);
    EXPECT_EQ(guest.rename(guest.walk("work"), "file", root, ".bashrc").error, EACCES);
    EXPECT_EQ(guest.create(root, ".zshrc").error, EACCES) << "it does not exist yet";
    EXPECT_EQ(guest.make_node(root, ".zshrc").error, EACCES);
    EXPECT_EQ(guest.symlink(root, ".zshrc", "work/file").error, EACCES);
    EXPECT_EQ(guest.link(guest.walk("work/file"), root, ".zshrc").error, EACCES);
    const std::uint64_t fish = guest.walk(".config/fish");
    EXPECT_EQ(guest.create(fish, "new.fish").error, EACCES);
    EXPECT_EQ(guest.open(guest.walk(".config/fish/config.fish"), O_WRONLY).error, EACCES);
  });
  EXPECT_EQ(read_file(home() / ".bashrc"), "as it was\n");
  EXPECT_EQ(read_file(home() / ".config/fish/config.fish"), "as it was\n");
  EXPECT_FALSE(fs::exists(home() / ".zshrc"));
}

}  // namespace
}  // namespace cl
