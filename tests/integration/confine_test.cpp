// Programs that are confined to a folder, by this system's real means.
#include "src/base/confine.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#ifndef __APPLE__
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#endif

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

/// Calls of a process that has given up its rights; what each of them achieved is told by its name.
std::string what_works_sealed() {
  int pipe_ends[2], pair[2];
  if (::pipe(pipe_ends) != 0 || ::socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) return "no pipe";
  const pid_t child = ::fork();
  if (child == 0) {
    std::string said;
    auto tell = [&](const char* what, bool works) { said += works ? std::string(what) + " " : ""; };
    try {
      seal_process(std::size_t{512} << 20);
      tell("file", ::open("/etc/passwd", O_RDONLY) >= 0);
      tell("new-file", ::open("/tmp/sealed", O_WRONLY | O_CREAT, 0600) >= 0);
      tell("names", ::access("/etc/passwd", F_OK) == 0);
      tell("unix-socket", ::socket(AF_UNIX, SOCK_STREAM, 0) >= 0);
      tell("tcp-socket", ::socket(AF_INET, SOCK_STREAM, 0) >= 0);
      tell("socket-pair", ::socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
      const pid_t other = ::fork();
      if (other == 0) ::_exit(0);
      tell("process", other > 0);
      char program[] = "/bin/true";
      char* const argv[] = {program, nullptr};
      tell("program", ::execv(program, argv) == 0);
      tell("signal", ::kill(::getppid(), 0) == 0);
#ifndef __APPLE__
      tell("other-process", ::syscall(SYS_tgkill, ::getppid(), ::getppid(), 0) == 0);
      tell("code", ::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
      tell("memory-file", ::syscall(SYS_memfd_create, "x", 0) >= 0);
      tell("io-uring", ::syscall(425, 1, nullptr) >= 0);
      tell("other-memory", ::ptrace(PTRACE_ATTACH, ::getppid(), nullptr, nullptr) == 0);
      tell("outlives", ::prctl(PR_SET_PDEATHSIG, 0) == 0);
      tell("terminal", ::ioctl(pair[0], TIOCSTI, "x") == 0);
      const rlimit more{1 << 20, 1 << 20};
      tell("limits", ::setrlimit(RLIMIT_NPROC, &more) == 0);
      void* const memory = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      tell("has-memory", memory != MAP_FAILED);
#else
      tell("has-memory", true);
#endif
      tell("has-sockets", ::send(pair[0], "x", 1, 0) == 1 && ::recv(pair[1], program, 1, 0) == 1);
    } catch (const Error& error) {
      said = one_line(error);
    }
    [[maybe_unused]] const ssize_t told = ::write(pipe_ends[1], said.data(), said.size());
    ::_exit(0);
  }
  ::close(pipe_ends[1]);
  std::string said(4096, '\0');
  const ssize_t got = ::read(pipe_ends[0], said.data(), said.size());
  for (const int fd : {pipe_ends[0], pair[0], pair[1]}) ::close(fd);
  ::waitpid(child, nullptr, 0);
  return said.substr(0, got > 0 ? static_cast<std::size_t>(got) : 0);
}

TEST(Sealed, KeepTheirMemoryAndTheirSocketsAlone) { EXPECT_EQ(what_works_sealed(), "has-memory has-sockets "); }

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

#ifndef __APPLE__
/// Programs that may not use some paths of their folder.
class Guarded : public Confined {
 protected:
  void SetUp() override {
    Confined::SetUp();
    if (const std::string why = why_no_path_guard(); !why.empty()) GTEST_SKIP() << why;
    for (const char* name : {"mine/.ssh", "mine/.config/gcloud", "mine/.config/fish", "mine/work"})
      fs::create_directories(dir_ / name);
    write_atomically(dir_ / "mine/.ssh/id", "hidden\n");
    write_atomically(dir_ / "mine/.bashrc", "as it was\n");
    write_atomically(dir_ / "mine/work/file", "mine\n");
    fs::create_directory_symlink(".ssh", dir_ / "mine/link");
  }
  GuardedPaths paths() const {
    const fs::path mine = fs::canonical(dir_.path()) / "mine";
    return {mine,
            {mine / ".aws", mine / ".config/gcloud", mine / ".ssh"},
            {mine / ".bashrc", mine / ".config/fish", mine / ".zshrc"}};
  }
  std::string guarded_shell(const std::string& line) const {
    const std::string script =
        "cd " + shell_quoted((dir_ / "mine").string()) + " && { " + line + "; } 2>&1 && echo done";
    return call(guarded(platform::executable(), paths(), {"/bin/sh", "-c", script})).output;
  }
};

TEST_F(Guarded, UseAllElseAsEver) {
  EXPECT_EQ(guarded_shell("cat file work/file .bashrc"), "mine\nmine\nas it was\ndone\n");
  EXPECT_EQ(guarded_shell("mkdir more && echo x > more/x && mv more/x work && ln work/x y && rm -r more y && ls work"),
            "file\nx\ndone\n");
  EXPECT_EQ(guarded_shell("ls -d .ssh && echo x > .config/other && mkdir work/.ssh && echo x > work/.ssh/x"),
            ".ssh\ndone\n");
  EXPECT_EQ(call(guarded(platform::executable(), paths(), {"/bin/sh", "-c", "exit 7"})).status.code, 7);
}

TEST_F(Guarded, ReachNothingThatIsHidden) {
  for (const char* line :
       {"cat .ssh/id", "ls .ssh", "cat work/../.ssh/id", "cat link/id", "cat /proc/self/cwd/.ssh/id", "ls .ssh/../.ssh",
        "mv .ssh open", "mv .config open", "mv work .ssh", "ln -s .ssh/id a && cat a", "ln .ssh/id a", "rm -r .ssh",
        "chmod 777 .ssh", "mkdir .aws", "ln -s work .aws", "mv work .aws", "touch .ssh/new", "cd .ssh && cat id",
        "ln -s ../mine work/up && cat work/up/.ssh/id"})
    EXPECT_TRUE(fails(guarded_shell(line))) << line << ": " << guarded_shell(line);
  EXPECT_EQ(read_file(dir_ / "mine/.ssh/id"), "hidden\n");
}

TEST_F(Guarded, WriteNothingThatIsKept) {
  for (const char* line : {"echo x > .bashrc", "echo x >> .bashrc", "rm .bashrc", "mv work/file .bashrc",
                           "mv .bashrc away", "chmod 666 .bashrc", "ln .bashrc other", "truncate -s 0 .bashrc",
                           "echo x > .zshrc", "touch .zshrc", "ln -s work/file .zshrc", "cp work/file .zshrc",
                           "mkdir .zshrc", "touch .config/fish/new", "mkdir .config/fish/conf.d", "rmdir .config/fish"})
    EXPECT_TRUE(fails(guarded_shell(line))) << line << ": " << guarded_shell(line);
  EXPECT_EQ(read_file(dir_ / "mine/.bashrc"), "as it was\n");
  EXPECT_FALSE(fs::exists(dir_ / "mine/.zshrc"));
}

TEST_F(Guarded, EndWithTheirGuard) {
  auto work = [&]() -> asio::awaitable<bool> {
    Command command;
    command.argv = guarded(platform::executable(), paths(), {"/bin/sh", "-c", "echo $$ > work/pid; exec sleep 1000"});
    command.directory = dir_ / "mine";
    Child child = Child::start(co_await asio::this_coro::executor, command);
    std::string pid;
    while (!(pid = read_file_if_exists(dir_ / "mine/work/pid").value_or("")).ends_with('\n')) co_await sleep_for(5ms);
    child.kill(SIGKILL);
    co_await child.wait();
    while (fs::exists("/proc/" + pid.substr(0, pid.size() - 1) + "/exe")) co_await sleep_for(5ms);
    co_return true;
  };
  EXPECT_TRUE(test::run(work(), 30s));
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
    share.location = fs::canonical(dir_.path()) / "mine";
    share.read_only = read_only;
    share.hidden = hidden_;
    share.kept = kept_;
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
  /// With some of the folder hidden.
  void try_to_reach_hidden(SftpPrograms programs) {
    const fs::path folder = fs::canonical(dir_.path()) / "mine";
    const std::string mine = folder.string(), here = (dir_ / "fetched").string();
    programs.guard = platform::executable();
    for (const char* name : {"mine/.ssh", "mine/.config/gcloud"}) fs::create_directories(dir_ / name);
    write_atomically(dir_ / "mine/.ssh/id", "hidden\n");
    write_atomically(dir_ / "mine/.config/gcloud/token", "hidden\n");
    write_atomically(dir_ / "mine/.bashrc", "as it was\n");
    hidden_ = {mine + "/.aws", mine + "/.config/gcloud", mine + "/.ssh"};
    kept_ = {mine + "/.bashrc", mine + "/.zshrc"};
    EXPECT_EQ(ask(programs, false, "get " + mine + "/file " + here + "\nput " + here + " " + mine + "/new\n"), "done");
    EXPECT_EQ(ask(programs, false, "ls -l " + mine + "\n"), "done");
    EXPECT_EQ(ask(programs, false, "get " + mine + "/.bashrc " + here + "\n"), "done");
    for (const std::string& line :
         {"get " + mine + "/.ssh/id " + here, "get " + mine + "/below/../.ssh/id " + here,
          "ln -s .ssh " + mine + "/open\nget " + mine + "/open/id " + here,
          "rename " + mine + "/.ssh " + mine + "/away", "rename " + mine + "/.config " + mine + "/away",
          "ln " + mine + "/.ssh/id " + mine + "/away", "mkdir " + mine + "/.aws",
          "put " + here + " " + mine + "/.bashrc", "put " + here + " " + mine + "/.zshrc", "rm " + mine + "/.bashrc",
          "rename " + mine + "/new " + mine + "/.zshrc", "chmod 666 " + mine + "/.bashrc",
          "ln -s file " + mine + "/.zshrc", "ls " + mine + "/.ssh/id"})
      EXPECT_NE(ask(programs, false, line + "\n"), "done") << line;
    // One connection, while this computer makes the folder.
    EXPECT_NE(ask(programs, false,
                  "get " + mine + "/file " + here + "\n!mkdir " + mine + "/.aws && echo hidden > " + mine +
                      "/.aws/credentials\nget " + mine + "/.aws/credentials " + here + "\n"),
              "done");
    EXPECT_EQ(read_file(dir_ / "mine/.aws/credentials"), "hidden\n") << "it was made";
    EXPECT_NE(read_file(dir_ / "fetched"), "hidden\n");
    EXPECT_EQ(read_file(dir_ / "mine/.bashrc"), "as it was\n");
    EXPECT_FALSE(fs::exists(dir_ / "mine/.zshrc"));
    EXPECT_TRUE(fs::exists(dir_ / "mine/.config/gcloud/token"));
  }
  fs::path server_;
  std::vector<std::string> hidden_, kept_;
};

TEST_F(SftpServer, IsConfinedWithoutNameSpaces) { try_it({server_, "", platform::executable()}); }

TEST_F(SftpServer, HidesWithoutNameSpaces) { try_to_reach_hidden({server_, "", platform::executable()}); }

#ifndef __APPLE__
TEST_F(SftpServer, HidesAlsoWhereNothingConfinesIt) { try_to_reach_hidden({server_, "", ""}); }
#endif

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
  try_to_reach_hidden({server_, *bwrap, ""});
}

}  // namespace
}  // namespace cl
