#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>

#include "src/base/child.hpp"
#include "src/base/file.hpp"
#include "tests/e2e/sandbox.hpp"

// Host folders in one machine for each type of share; the tests of a type build on each other, in this order.

namespace cl::e2e {
namespace {

/// The type, the setting that leads to it, what docs/shares.md says does not pass with it, and its server on this host.
struct Virtiofs {
  static constexpr const char* setting = "virtiofs";
  static constexpr const char* name = "virtiofs";
  static constexpr const char* server = "--shared-dir=";
  static std::set<std::string> not_passed() { return {"set-uid"}; }
  static bool is_here() { return Sandbox::has_virtiofsd(); }
};
/// By itself, since the virtiofsd that is found serves nothing.
struct Sshfs {
  static constexpr const char* setting = "auto";
  static constexpr const char* name = "sshfs";
  static constexpr const char* server = "sftp-server -e";
  static std::set<std::string> not_passed() {
    return {"nanoseconds",     "long-name",      "symlink-stays-inside",
            "hard-link-count", "fifo",           "unix-socket",
            "sparse",          "fallocate",      "xattr",
            "set-uid",         "rename-exchange"};
  }
  static bool is_here() { return true; }
};

void write_file(const fs::path& path, const std::string& text) { std::ofstream(path) << text; }

template <class Type>
class Shares : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (!Type::is_here()) return;
    box = new Sandbox;
    for (const char* folder :
         {"work ü", "fixed", "squashed", "full", ".ssh", ".config/gcloud", ".config/fish", ".kube"})
      fs::create_directories(user() / folder);
    for (const char* file : {".ssh/id", ".config/gcloud/token", ".kube/config"})
      write_file(user() / file, "a secret\n");
    for (const char* file : {".bashrc", ".config/fish/config.fish"}) write_file(user() / file, "as it was\n");
    fs::create_directories(user().parent_path() / "outside");
    fs::create_directory_symlink(user().parent_path() / "outside", user() / "leads-out");
    write_file(user() / "work ü/greeting", "hello from the host\n");
    write_file(user() / "fixed/file", "of the host\n");
    small_disk = ::mount("none", (user() / "full").c_str(), "tmpfs", 0, "size=1m") == 0;
    if (small_disk) box->on_exit([] { ::umount2((user() / "full").c_str(), MNT_DETACH); });
    if (::geteuid() == 0) EXPECT_EQ(::chown((user() / "squashed").c_str(), 1501, 1501), 0);
    if (Type::name != std::string("virtiofs")) put_broken_virtiofsd();
    // The same folder twice: writable as part of the home, and for reading alone at a place of its own.
    EXPECT_OK(box->cl({"config", "set", "share_type", Type::setting}));
    EXPECT_OK(box->cl(
        {"config", "set", "shares", R"(["~", "~/fixed:/mnt/read only:ro", "~/squashed:/mnt/squashed:owner=1000"])"}));
    const Result started = box->cl({"start"}, {}, 1800s);
    intact = started.code == 0;
    EXPECT_OK(started);
    EXPECT_NE(started.err.find("are hidden from the machine"), std::string::npos) << started;
    if (!intact) return;
    fs::copy_file(COLIMA_LIKE_SHARE_CHECK, box->busybox_tree() / "bin/share_check");
    box->import_busybox("box");
  }
  static void put_broken_virtiofsd() {
    const fs::path programs = box->root() / "programs";
    fs::create_directory(programs);
    write_file(programs / "virtiofsd",
               "#!/bin/sh\ncase $1 in --version) echo virtiofsd 1.14.0 ;; --help) echo --shared-dir ;; "
               "*) echo it is broken >&2 && exit 1 ;; esac\n");
    fs::permissions(programs / "virtiofsd", fs::perms::owner_all);
    box->set("PATH=" + programs.string() + ":" + std::getenv("PATH"));
  }
  static void TearDownTestSuite() {
    delete box;
    box = nullptr;
  }
  void SetUp() override {
    if (!Type::is_here()) GTEST_SKIP() << "there is no " << Type::name << " server on this host";
    ASSERT_TRUE(intact) << "an earlier step failed, this one stands on it";
  }
  void TearDown() override { intact = intact && !HasFatalFailure(); }
  static std::string name() { return Type::name; }
  /// Of a file that this user of a container makes: by SFTP it is the server's user, who is ours.
  static std::string owner_of_new_files(const std::string& maker) {
    return name() == "sshfs" ? std::to_string(::geteuid()) + " " + std::to_string(::getegid()) : maker;
  }

  static fs::path user() { return box->root() / "user"; }
  static std::string home_at(const std::string& where) { return user().string() + ":" + where; }
  static Result docker(std::vector<std::string> args, std::chrono::seconds limit = command_limit) {
    return box->docker(std::move(args), {}, limit);
  }
  static Result cl(std::vector<std::string> args, std::chrono::seconds limit = command_limit) {
    return box->cl(std::move(args), {}, limit);
  }
  /// A shell script in a container that has the home at /h.
  static Result in_container(const std::string& script, std::vector<std::string> options = {}) {
    std::vector<std::string> args{"run", "--rm", "-v", home_at("/h")};
    args.insert(args.end(), options.begin(), options.end());
    args.insert(args.end(), {"box", "sh", "-c", script});
    return docker(std::move(args));
  }
  /// What `status` says of the share at that mount point.
  static boost::json::object share_at(const std::string& mount_point) {
    const auto status = box->status();
    if (const auto* shares = status.if_contains("shares"))
      for (const auto& one : shares->as_array())
        if (one.at("mount_point").as_string() == mount_point) return one.as_object();
    return {};
  }
  static std::string state_of(const std::string& mount_point) {
    const auto share = share_at(mount_point);
    return share.empty() ? "" : std::string(share.at("state").as_string());
  }
  static std::vector<pid_t> servers() {
    std::vector<pid_t> found;
    for (const pid_t pid : box->processes()) {
      std::string words = read_file_if_exists("/proc/" + std::to_string(pid) + "/cmdline").value_or("");
      std::replace(words.begin(), words.end(), '\0', ' ');
      if (words.find(Type::server) != std::string::npos) found.push_back(pid);
    }
    return found;
  }

  static Sandbox* box;
  static bool intact, small_disk;
};
template <class Type>
Sandbox* Shares<Type>::box = nullptr;
template <class Type>
bool Shares<Type>::intact = false;
template <class Type>
bool Shares<Type>::small_disk = false;

struct Names {
  template <class Type>
  static std::string GetName(int) {
    return Type::name;
  }
};
using Types = testing::Types<Virtiofs, Sshfs>;
TYPED_TEST_SUITE(Shares, Types, Names);

TYPED_TEST(Shares, AMountOfTheCurrentFolderJustWorks) {
  const fs::path work = TestFixture::user() / "work ü";
  const Result read =
      TestFixture::docker({"run", "--rm", "-v", work.string() + ":/src", "box", "cat", "/src/greeting"});
  EXPECT_EQ(read.out, "hello from the host\n") << read;
  const Result written =
      TestFixture::docker({"run", "--rm", "--mount", "type=bind,source=" + work.string() + ",target=/src", "box", "sh",
                           "-c", "echo built >/src/made && busybox chmod 640 /src/made"});
  EXPECT_OK(written);
  EXPECT_EQ(read_file(work / "made"), "built\n");
  struct stat facts{};
  ASSERT_EQ(::stat((work / "made").c_str(), &facts), 0);
  EXPECT_EQ(facts.st_uid, ::getuid());
  EXPECT_EQ(facts.st_mode & 07777, 0640u);
  EXPECT_EQ(TestFixture::share_at(TestFixture::user()).at("type").as_string(), TypeParam::name);
  EXPECT_NE(TestFixture::cl({"status"}).out.find("share    "), std::string::npos);
}

TYPED_TEST(Shares, AVirtiofsdThatServesNothingLeavesTheMachineAlone) {
  if (TypeParam::name == std::string("virtiofs")) GTEST_SKIP() << "here it serves";
  const auto why = TestFixture::share_at(TestFixture::user()).at("why").as_string();
  EXPECT_NE(why.find("virtiofsd 1.14.0 does not serve it: it is broken"), std::string::npos) << why;
}

TYPED_TEST(Shares, WhatPosixPromisesHoldsAsDocumented) {
  const char* files = std::getenv("COLIMA_LIKE_SHARE_FILES");  // 100000 takes minutes under emulation
  const Result checked = TestFixture::docker({"run", "--rm", "-v", TestFixture::home_at("/h"), "box", "share_check",
                                              "/h", "--files", files != nullptr ? files : "300"},
                                             1800s);
  std::set<std::string> failed;
  std::istringstream lines(checked.out);
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with("no ")) failed.insert(line.substr(3, line.find(':') - 3));
  EXPECT_EQ(failed, TypeParam::not_passed()) << checked;
  EXPECT_NE(checked.out.find("ok many-files"), std::string::npos) << checked;
}

TYPED_TEST(Shares, ADatabaseCanTakeItsFolder) {
  if (::getuid() != 0) GTEST_SKIP() << "only root may give files to others by every type";
  EXPECT_OK(
      TestFixture::in_container("busybox mkdir -p /h/db && busybox chown -R 999:999 /h/db && busybox chmod 700 /h/db"));
  const Result data = TestFixture::docker(
      {"run", "--rm", "--user", "999:999", "-v", TestFixture::user().string() + "/db:/data", "box", "sh", "-c",
       "echo 17 >/data/PG_VERSION && busybox stat -c '%u %g %a' /data /data/PG_VERSION"});
  EXPECT_EQ(data.out, "999 999 700\n" + TestFixture::owner_of_new_files("999 999") + " 644\n") << data;
}

TYPED_TEST(Shares, AUserOfAnImageWritesAFolderOfAnotherUserWhereTheShareSaysSo) {
  const Result written = TestFixture::docker({"run", "--rm", "--user", "1000:1000", "-v", "/mnt/squashed:/w", "box",
                                              "sh", "-c", "echo made >/w/file && busybox stat -c '%u %g' /w /w/file"});
  EXPECT_EQ(written.out, "1000 1000\n1000 1000\n") << written;
  struct stat folder{}, file{};
  ASSERT_EQ(::stat((TestFixture::user() / "squashed").c_str(), &folder), 0);
  ASSERT_EQ(::stat((TestFixture::user() / "squashed/file").c_str(), &file), 0);
  EXPECT_EQ(file.st_uid, TestFixture::name() == "sshfs" ? ::geteuid() : folder.st_uid);
}

TYPED_TEST(Shares, ReadOnlyIsEnforcedOnTheHost) {
  const Result checked =
      TestFixture::docker({"run", "--rm", "-v", "/mnt/read only:/h", "box", "share_check", "/h", "--read-only"});
  EXPECT_OK(checked);
  // Root of the machine can make its own mount writable.
  const Result tried =
      TestFixture::cl({"ssh", "--", "mount -o remount,rw '/mnt/read only' && echo x >'/mnt/read only/file'"});
  EXPECT_NE(tried.code, 0) << tried;
  EXPECT_EQ(read_file(TestFixture::user() / "fixed/file"), "of the host\n");
}

TYPED_TEST(Shares, WhatIsNotSharedIsRefusedByName) {
  const std::string outside = (TestFixture::user().parent_path() / "outside").string();
  const Result refused = TestFixture::docker({"run", "--rm", "-v", outside + ":/x", "box", "true"});
  EXPECT_NE(refused.code, 0);
  EXPECT_NE(refused.err.find(outside + " is not shared"), std::string::npos) << refused;
  const Result link =
      TestFixture::docker({"run", "--rm", "-v", (TestFixture::user() / "leads-out").string() + ":/x", "box", "true"});
  EXPECT_NE(link.code, 0);
  EXPECT_NE(link.err.find("is a link to " + outside), std::string::npos) << link;
}

TYPED_TEST(Shares, WhatIsHiddenIsOutOfTheGuestsReach) {
  const fs::path home = TestFixture::user();
  const auto as_root = [&home](const std::string& line) {
    return TestFixture::cl({"ssh", "--", "cd '" + home.string() + "' && { " + line + "; }"});
  };
  const Result listed = as_root("ls -ld .ssh .kube .config && ls -a && cat .bashrc .config/fish/config.fish");
  EXPECT_OK(listed);
  EXPECT_NE(listed.out.find("as it was\nas it was\n"), std::string::npos) << listed;
  for (const char* line : {"cat .ssh/id",
                           "ls .ssh",
                           "mv .ssh seen",
                           "mv .config seen",
                           "ln -sfn .ssh way && cat way/id",
                           "ln -sfn ../.ssh 'work ü/way' && cat 'work ü/way/id'",
                           "ln .ssh/id seen",
                           "cat .config/gcloud/token",
                           "mount --bind .ssh /mnt && cat /mnt/id",
                           "echo x >> .bashrc",
                           "rm .bashrc",
                           "echo x > t && mv t .bashrc",
                           "ln .bashrc seen",
                           "echo x > .zshrc",
                           "touch .bash_profile",
                           "ln -s .bashrc .zprofile",
                           "echo x > .config/fish/new.fish",
                           "echo x > .config/fish/config.fish",
                           "mkdir .aws",
                           "ln -s 'work ü' .aws",
                           "chmod 777 .ssh",
                           "rm -rf .ssh"})
    EXPECT_NE(as_root(line).code, 0) << line;
  as_root("umount /mnt; rm -f way t 'work ü/way'");
  EXPECT_EQ(read_file(home / ".ssh/id"), "a secret\n");
  EXPECT_EQ(read_file(home / ".bashrc"), "as it was\n");
  for (const char* name : {".zshrc", ".bash_profile", ".zprofile", ".aws", "seen", ".config/fish/new.fish"})
    EXPECT_FALSE(fs::exists(fs::symlink_status(home / name))) << name;
  // What this computer makes and replaces while the machine runs.
  fs::create_directories(home / ".aws");
  write_file(home / ".aws/credentials", "a secret\n");
  write_file(home / ".bashrc.new", "as it was\n");
  fs::rename(home / ".bashrc.new", home / ".bashrc");
  std::this_thread::sleep_for(1100ms);  // for so long the guest may use what it knew
  EXPECT_NE(as_root("cat .aws/credentials").code, 0);
  EXPECT_NE(as_root("echo x >> .bashrc").code, 0);
  EXPECT_EQ(read_file(home / ".bashrc"), "as it was\n");
  EXPECT_NE(TestFixture::in_container("cat /h/.ssh/id").code, 0);

  const Result refused = TestFixture::docker({"run", "--rm", "-v", (home / ".kube").string() + ":/x", "box", "true"});
  EXPECT_NE(refused.code, 0);
  EXPECT_NE(refused.err.find((home / ".kube").string() + " is hidden from the machine"), std::string::npos) << refused;
  ASSERT_OK(TestFixture::cl({"share", "add", (home / ".kube").string() + ":ro"}));
  const Result seen =
      TestFixture::docker({"run", "--rm", "-v", (home / ".kube").string() + ":/x", "box", "cat", "/x/config"});
  EXPECT_EQ(seen.out, "a secret\n") << seen;
  ASSERT_OK(TestFixture::cl({"share", "remove", (home / ".kube").string()}));
  EXPECT_NE(as_root("cat .kube/config").code, 0);
}

TYPED_TEST(Shares, EachSideSeesWhatTheOtherClosed) {
  const fs::path file = TestFixture::user() / "shared";
  for (int round = 0; round < 2; ++round) {
    const std::string text(static_cast<std::size_t>(10 + 1000 * round), static_cast<char>('a' + round));
    write_file(file, text);
    std::this_thread::sleep_for(1100ms);  // for so long the guest may use what it knew
    EXPECT_EQ(TestFixture::in_container("cat /h/shared").out, text);
    EXPECT_OK(TestFixture::in_container("echo answer " + std::to_string(round) + " >/h/shared"));
    EXPECT_EQ(read_file(file), "answer " + std::to_string(round) + "\n");
  }
}

TYPED_TEST(Shares, AFullDiskIsAnErrorInTheContainer) {
  if (!TestFixture::small_disk) GTEST_SKIP() << "no small file system can be mounted here";
  const Result full = TestFixture::in_container("dd if=/dev/zero of=/h/full/x bs=64k count=64");
  EXPECT_NE(full.code, 0) << full;
  // SFTP has no word for it: sshfs says that something failed.
  if (std::string(TypeParam::name) == "virtiofs") EXPECT_NE(full.err.find("No space left"), std::string::npos) << full;
  fs::remove(TestFixture::user() / "full/x");
}

TYPED_TEST(Shares, GitWorksInside) {
  const std::string at = "cd '" + TestFixture::user().string() + "' && ";
  // git compares the two names of a hard link, which by SFTP look like two files.
  const std::string clone = TestFixture::name() == "sshfs" ? "git clone -q --no-hardlinks" : "git clone -q";
  const Result git = TestFixture::cl(
      {"ssh", "--",
       at +
           "git init -q repo && cd repo && git config user.email a@b && git config user.name n && "
           "for i in 1 2 3 4 5 6 7 8 9; do mkdir d$i && echo $i >d$i/f; done && git add . && git commit -qm one && "
           "cd .. && " +
           clone +
           " repo clone && cd clone && git fsck --strict && git status --porcelain && "
           "git log --format=%s"});
  EXPECT_OK(git);
  EXPECT_EQ(git.out, "one\n") << git;
  EXPECT_EQ(read_file(TestFixture::user() / "clone/d9/f"), "9\n");
}

TYPED_TEST(Shares, AContainerThatComesBackWithARebootFindsItsFolder) {
  const fs::path seen = TestFixture::user() / "seen";
  auto has_seen = [&seen](const std::string& text) { return read_file_if_exists(seen).value_or("") == text; };
  ASSERT_OK(TestFixture::docker({"run", "-d", "--name", "back", "--restart", "always", "-v", TestFixture::home_at("/h"),
                                 "box", "sh", "-c", "cat '/h/work ü/greeting' >>/h/seen; exec sleep 1000000"}));
  const std::string greeting = "hello from the host\n";
  ASSERT_TRUE(eventually(20s, [&] { return has_seen(greeting); }));
  TestFixture::cl({"ssh", "--", "reboot"});
  EXPECT_TRUE(eventually(boot_limit, [&] { return has_seen(greeting + greeting); }))
      << read_file_if_exists(seen).value_or("");
  EXPECT_OK(TestFixture::docker({"rm", "-f", "back"}));
}

TYPED_TEST(Shares, OpenFilesOutliveASuspend) {
  ASSERT_OK(TestFixture::docker({"run", "-d", "--name", "writer", "-v", TestFixture::home_at("/h"), "box", "sh", "-c",
                                 "exec >>/h/lines; i=0; while :; do i=$((i+1)); echo $i; sleep 0.2; done"}));
  const fs::path lines = TestFixture::user() / "lines";
  ASSERT_TRUE(eventually(20s, [&] { return fs::exists(lines) && fs::file_size(lines) > 0; }));
  const Result suspended = TestFixture::cl({"suspend"});
  ASSERT_OK(suspended);
  EXPECT_NE(suspended.out.find("is suspended"), std::string::npos) << suspended;
  const auto before = fs::file_size(lines);
  write_file(TestFixture::user() / "meanwhile", "changed while it slept\n");
  const Result resumed = TestFixture::cl({"start"});
  ASSERT_OK(resumed);
  EXPECT_NE(resumed.out.find("is resumed"), std::string::npos) << resumed;
  EXPECT_TRUE(eventually(20s, [&] { return fs::file_size(lines) > before + 20; }))
      << "the container does not write any more";
  std::ifstream all(lines);
  for (int expected = 1, line = 0; all >> line && !all.eof(); ++expected) ASSERT_EQ(line, expected) << "a line is lost";
  EXPECT_EQ(TestFixture::in_container("cat /h/meanwhile").out, "changed while it slept\n");
  EXPECT_EQ(TestFixture::state_of(TestFixture::user()), "mounted");
  EXPECT_OK(TestFixture::docker({"rm", "-f", "writer"}));
}

TYPED_TEST(Shares, AreAddedAndRemovedWhileItRuns) {
  const fs::path more = TestFixture::user().parent_path() / "more";
  fs::create_directories(more);
  write_file(more / "file", "added\n");
  ASSERT_OK(TestFixture::cl({"share", "add", more.string()}));
  EXPECT_EQ(TestFixture::state_of(more), "mounted");
  EXPECT_EQ(TestFixture::docker({"run", "--rm", "-v", more.string() + ":/x", "box", "cat", "/x/file"}).out, "added\n");
  ASSERT_OK(TestFixture::cl({"share", "remove", more.string()}));
  EXPECT_EQ(TestFixture::state_of(more), "");
  EXPECT_NE(TestFixture::docker({"run", "--rm", "-v", more.string() + ":/x", "box", "cat", "/x/file"}).code, 0);
  EXPECT_EQ(TestFixture::in_container("cat '/h/work ü/greeting'").out, "hello from the host\n");
  expect_error(TestFixture::cl({"share", "add", more.string() + ":/usr/x"}), 2,
               {"belongs to the machine's own system"});
  expect_error(TestFixture::cl({"share", "add", "/no/such/folder"}), 1, {"there is no folder /no/such/folder"});
}

TYPED_TEST(Shares, AFolderThatVanishesIsToldAndTheOthersGoOn) {
  fs::rename(TestFixture::user() / "fixed", TestFixture::user() / "fixed-away");
  EXPECT_EQ(TestFixture::state_of("/mnt/read only"), "folder missing");
  const Result status = TestFixture::cl({"status"});
  EXPECT_NE(status.out.find("NOT THERE: there is no folder"), std::string::npos) << status;
  EXPECT_EQ(TestFixture::in_container("cat '/h/work ü/greeting'").out, "hello from the host\n");
  fs::rename(TestFixture::user() / "fixed-away", TestFixture::user() / "fixed");
}

TYPED_TEST(Shares, AKilledServerIsReplaced) {
  const auto before = TestFixture::servers();
  ASSERT_FALSE(before.empty());
  for (const pid_t pid : before) ::kill(pid, SIGKILL);
  // Who asks a dead virtiofsd before the daemon has seen its end waits for good.
  ASSERT_TRUE(eventually(30s, [] { return TestFixture::share_at(TestFixture::user()).at("type") == "sshfs"; }));
  ASSERT_TRUE(eventually(30s, [] {
    return TestFixture::state_of(TestFixture::user()) == "mounted" && !TestFixture::box->processes().empty() &&
           TestFixture::in_container("cat '/h/work ü/greeting'").out == "hello from the host\n";
  }));
  EXPECT_OK(TestFixture::in_container("echo again >/h/again"));
  EXPECT_EQ(read_file(TestFixture::user() / "again"), "again\n");
  const std::string log = read_file(TestFixture::box->profile() / "log/daemon.log");
  // By its server's end, or by what the guest then saw first.
  const auto told = log.find("share " + TestFixture::user().string() + ": ");
  ASSERT_NE(told, std::string::npos) << "nobody reported it";
  EXPECT_NE(log.find("being mounted again", told), std::string::npos) << log.substr(told);
}

TYPED_TEST(Shares, ADaemonThatIsKilledBringsThemBack) {
  const auto daemons = TestFixture::box->daemons();
  ASSERT_EQ(daemons.size(), 1u);
  ::kill(daemons.front(), SIGKILL);
  ASSERT_OK(TestFixture::cl({"start"}, 600s));
  EXPECT_EQ(TestFixture::state_of(TestFixture::user()), "mounted") << TestFixture::cl({"status"});
  EXPECT_EQ(TestFixture::in_container("cat '/h/work ü/greeting'").out, "hello from the host\n");
}

TYPED_TEST(Shares, WhoWaitsForAKilledServerDoesNotKeepTheMachine) {
  if (TestFixture::name() != "virtiofs") GTEST_SKIP() << "others tell who waits that their server is gone";
  ASSERT_OK(TestFixture::cl({"restart"}, 600s));  // by virtiofs again
  ASSERT_OK(
      TestFixture::docker({"run", "-d", "--name", "waits", "-v", TestFixture::home_at("/h"), "box", "sleep", "9999"}));
  ASSERT_OK(TestFixture::docker({"run", "--rm", "-v", "kept:/kept", "box", "sh", "-c", "echo precious >/kept/file"}));
  const auto servers = TestFixture::servers();
  ASSERT_FALSE(servers.empty());
  for (const pid_t pid : servers) ::kill(pid, SIGSTOP);
  ASSERT_OK(TestFixture::docker({"exec", "-d", "waits", "cat", "/h/work ü/greeting"}));
  ASSERT_TRUE(eventually(30s, [] {
    return TestFixture::docker({"exec", "waits", "sh", "-c", "grep -l request_wait_answer /proc/[0-9]*/wchan"}).code ==
           0;
  })) << "nobody waits for the server";
  for (const pid_t pid : servers) ::kill(pid, SIGKILL);
  ASSERT_TRUE(eventually(30s, [] { return TestFixture::share_at(TestFixture::user()).at("type") == "sshfs"; }));
  const Result stopped = TestFixture::cl({"stop"}, 120s);
  ASSERT_OK(stopped);
  EXPECT_LT(stopped.time, 50s) << stopped;
  ASSERT_OK(TestFixture::cl({"start"}, 600s));
  EXPECT_EQ(TestFixture::docker({"run", "--rm", "-v", "kept:/kept", "box", "cat", "/kept/file"}).out, "precious\n");
}

}  // namespace
}  // namespace cl::e2e
