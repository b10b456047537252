// Programs that are confined to a folder, by this system's real means.
#include "src/base/confine.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/child.hpp"
#include "src/base/file.hpp"
#include "src/base/platform.hpp"
#include "src/base/shell.hpp"
#include "src/shares/transport.hpp"
#include "tests/support/run.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl {
namespace {

using namespace std::chrono_literals;

class Confined : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = why_no_confinement(); !why.empty()) GTEST_SKIP() << why;
    for (const char* name : {"mine", "mine/below", "readable"}) fs::create_directory(dir_ / name);
    write_atomically(dir_ / "secret", "secret\n");
    write_atomically(dir_ / "readable/file", "to read\n");
    write_atomically(dir_ / "mine/file", "mine\n");
  }
  static Finished call(std::vector<std::string> argv) {
    Command command;
    command.argv = std::move(argv);
    return test::run(cl::run(std::move(command), {}, 30s), 40s);
  }
  /// What a shell in the folder prints that may read one folder and change another.
  std::string shell(const std::string& line) const {
    Confinement limits{system_libraries(), {dir_ / "mine", "/dev/null"}};
    limits.read.push_back(dir_ / "readable");
    const std::string script =
        "cd " + shell_quoted((dir_ / "mine").string()) + " && { " + line + "; } 2>&1 && echo done";
    return call(confined(platform::executable(), limits, {"/bin/sh", "-c", script})).output;
  }
  static bool fails(const std::string& said) { return !said.ends_with("done\n"); }
  test::TempDir dir_;
};

TEST_F(Confined, WorkInTheirFolders) {
  EXPECT_EQ(shell("cat file ../readable/file"), "mine\nto read\ndone\n");
  EXPECT_EQ(shell("echo new > below/new && mv below/new . && ln new again && rm file && : > new"), "done\n")
      << "also from one folder to another";
  EXPECT_TRUE(fs::exists(dir_ / "mine/again"));
}

TEST_F(Confined, ReachNothingElse) {
  for (const char* line :
       {"cat ../secret", "cat below/../../secret", "ln -s ../secret link; cat link", "ls ..", "ls /", ": > ../secret",
        "rm ../secret", "mkdir ../new", "mv file ../file", "ln ../secret here", "cat /proc/1/cmdline", "ls /root",
        "echo x > ../readable/file", "echo x >> ../readable/file"})
    EXPECT_TRUE(fails(shell(line))) << line << ": " << shell(line);
  EXPECT_EQ(read_file(dir_ / "secret"), "secret\n");
  EXPECT_EQ(read_file(dir_ / "readable/file"), "to read\n");
}

TEST_F(Confined, MakeNoSetuidFilesAndNoDevices) {
  EXPECT_TRUE(fails(shell("chmod 4755 file")));
  EXPECT_EQ(shell("chmod 750 file && chmod 2770 below && chmod 1770 below"), "done\n");
  EXPECT_TRUE(fails(shell("mknod null c 1 3")));
  EXPECT_EQ(shell("mkfifo pipe"), "done\n");
  const std::string other = "cd " + shell_quoted((dir_ / "mine").string()) + " && cat ../secret && chmod u+s file";
  const Finished free = call(without_setuid(platform::executable(), {"/bin/sh", "-c", other}));
  EXPECT_EQ(free.output, "secret\n") << "all else is as before";
#ifndef __APPLE__
  EXPECT_FALSE(free.status.ok());
#endif
}

#ifndef __APPLE__
TEST_F(Confined, HaveNoNetworkAndNoOtherProcess) {
  EXPECT_TRUE(fails(shell("bash -c 'exec 3<>/dev/tcp/127.0.0.1/9'")));
  EXPECT_NE(shell("bash -c 'exec 3<>/dev/tcp/127.0.0.1/9'").find("not permitted"), std::string::npos);
  EXPECT_TRUE(fails(shell("cat /proc/" + std::to_string(::getpid()) + "/environ")));
  EXPECT_TRUE(fails(shell("unshare --user true")));
  EXPECT_NE(shell("kill -0 " + std::to_string(::getpid())).find("not permitted"), std::string::npos);
  EXPECT_NE(shell("env").find("LC_ALL=C.UTF-8\n"), std::string::npos);
  EXPECT_EQ(shell("env").find("HOME="), std::string::npos)
      << "what the user's shell has in its environment stays there";
  if (::geteuid() == 0) {
    EXPECT_EQ(shell("chown 1234 file"), "done\n");
    EXPECT_TRUE(fails(shell("mount -t tmpfs none below")));
  }
}
#endif

/// The server that a share by sshfs has, asked by a real client.
class SftpServer : public Confined {
 protected:
  void SetUp() override {
    Confined::SetUp();
    for (const char* path : {"/usr/lib/openssh/sftp-server", "/usr/libexec/sftp-server"})
      if (fs::exists(path)) server_ = path;
    if (server_.empty() || !find_program("sftp")) GTEST_SKIP() << "no sftp and sftp-server here";
  }
  std::string ask(const SftpPrograms& programs, bool read_only, const std::string& batch) {
    ShareState share;
    share.location = dir_ / "mine";
    share.read_only = read_only;
    std::string server;
    for (const std::string& word : sftp_command_line(share, programs)) server += shell_quoted(word) + " ";
    write_atomically(dir_ / "server", "#!/bin/sh\nexec " + server + "\n");
    fs::permissions(dir_ / "server", fs::perms::owner_all);
    write_atomically(dir_ / "batch", batch);
    const Finished done = call({"sftp", "-b", dir_ / "batch", "-D", dir_ / "server"});
    return done.status.ok() ? "done" : done.errors;
  }
  void try_it(const SftpPrograms& programs) {
    const std::string mine = (dir_ / "mine").string(), here = (dir_ / "fetched").string();
    EXPECT_EQ(ask(programs, false, "get " + mine + "/file " + here + "\nput " + here + " " + mine + "/new\n"), "done");
    EXPECT_EQ(read_file(dir_ / "mine/new"), "mine\n");
    EXPECT_NE(ask(programs, false, "get " + (dir_ / "secret").string() + " " + here + "\n"), "done");
    EXPECT_NE(ask(programs, false, "chmod 4755 " + mine + "/file\n"), "done");
    EXPECT_EQ(ask(programs, false, "chmod 755 " + mine + "/file\n"), "done");
    EXPECT_NE(ask(programs, true, "put " + here + " " + mine + "/other\n"), "done");
    EXPECT_EQ(ask(programs, true, "get " + mine + "/file " + here + "\n"), "done");
    struct stat info{};
    ASSERT_EQ(::stat((dir_ / "mine/file").c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777U, 0755U);
  }
  fs::path server_;
};

TEST_F(SftpServer, IsConfinedWithoutNameSpaces) { try_it({server_, "", platform::executable()}); }

TEST_F(SftpServer, IsConfinedByNameSpaces) {
  const auto bwrap = find_program("bwrap");
  if (!bwrap || !call({bwrap->string(), "--ro-bind", "/", "/", "true"}).status.ok())
    GTEST_SKIP() << "no bubblewrap here";
  const UniqueFd calls = call_filter();
  // The client gives its child no more than stdio, so its shell opens the filter anew for each.
  const std::string filter = "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(calls.get());
  SftpPrograms programs{server_, *bwrap, "", true, -1, 9};
  const fs::path wrapper = dir_ / "bwrap";
  write_atomically(wrapper, "#!/bin/sh\nexec " + bwrap->string() + " \"$@\" 9< " + filter + "\n");
  fs::permissions(wrapper, fs::perms::owner_all);
  programs.bwrap = wrapper;
  try_it(programs);
}

}  // namespace
}  // namespace cl
