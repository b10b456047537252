#pragma once

#include <gtest/gtest.h>

#include <boost/json/value.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/e2e/process.hpp"

// Tests of the installed program with a real machine. A test that changes no machine shares one with others:
//
//   using Volumes = OnDocker;  // tests/e2e/shared_machine.hpp; it has the image `box`, which is busybox
//   TEST_F(Volumes, OutliveTheirContainer) {
//     ASSERT_OK(docker({"run", "--rm", "-v", "kept:/v", "box", "touch", "/v/file"}));
//     EXPECT_EQ(docker({"run", "--rm", "-v", "kept:/v", "box", "ls", "/v"}).out, "file\n");
//     EXPECT_OK(docker({"volume", "rm", "kept"}));  // what is left behind fails the test, and is removed
//   }
//
// A test of boots, kills or disks has a Sandbox of its own; tests that build on each other have one in their fixture.
// $COLIMA_LIKE_E2E_TRACE has every command printed with its seconds.

namespace cl::e2e {

/// Limits, generous for emulation on a loaded host with sanitizers; nothing is asserted about speed.
inline constexpr auto boot_limit = 480s;
inline constexpr auto command_limit = 120s;

/// The installed program: what tests/e2e/CMakeLists.txt installed, or $COLIMA_LIKE_E2E_PROGRAM.
std::string program();

/// A user of colima-like who owns nothing else: a home, a docker configuration and an environment of their own.
/// Only the cache of guest images is shared with the real user, so that an image is built once.
///
/// What it started is ended and removed with it, also when a test failed, and even when the test is killed.
class Sandbox {
 public:
  Sandbox();
  ~Sandbox();
  Sandbox(const Sandbox&) = delete;
  Sandbox& operator=(const Sandbox&) = delete;

  /// The directory of everything: short, since unix sockets live in it.
  const fs::path& root() const noexcept { return root_; }
  fs::path home() const { return root_ / "home"; }  ///< $COLIMA_LIKE_HOME
  fs::path profile(const std::string& name = "default") const { return home() / name; }
  fs::path docker_socket(const std::string& name = "default") const { return profile(name) / "docker.sock"; }

  /// "NAME=value", or "NAME" to unset it, for every later command.
  void set(std::string entry) { environment_.push_back(std::move(entry)); }
  const std::vector<std::string>& environment() const noexcept { return environment_; }
  void set_environment(std::vector<std::string> entries) { environment_ = std::move(entries); }
  /// An image cache of this sandbox's own, empty. Returns its path.
  fs::path use_private_cache();
  static fs::path shared_cache();
  /// Whether the program under test will find a server for virtiofs.
  static bool has_virtiofsd();

  /// Starts the installed program or the docker CLI, with `input` on stdin, and waits.
  Result cl(std::vector<std::string> args, std::string_view input = {}, std::chrono::seconds limit = command_limit);
  Result docker(std::vector<std::string> args, std::string_view input = {}, std::chrono::seconds limit = command_limit);
  Result run(std::vector<std::string> argv, std::string_view input = {}, std::chrono::seconds limit = command_limit);

  /// Starts one and comes back at once.
  std::unique_ptr<Process> start_cl(std::vector<std::string> args);
  std::unique_ptr<Process> start_docker(std::vector<std::string> args);
  std::unique_ptr<Process> start(std::vector<std::string> argv);
  std::unique_ptr<Terminal> terminal_cl(std::vector<std::string> args, int columns, int rows);
  std::unique_ptr<Terminal> terminal_docker(std::vector<std::string> args, int columns, int rows);

  /// `status --json`, whatever its exit code.
  boost::json::object status(const std::string& profile = "default");
  /// "running", "stopped", ...
  std::string state(const std::string& profile = "default");

  /// Imports an image that holds busybox alone, with its applets in /bin.
  void import_busybox(const std::string& image);
  /// The same tree as a directory to build from.
  fs::path busybox_tree();

  /// Runs at the end, the last one first.
  void on_exit(std::function<void()> action) { exits_.push_back(std::move(action)); }

  /// Processes whose arguments or environment name this sandbox; zombies and the sandbox's own keeper do not count.
  std::vector<pid_t> processes() const;
  std::vector<pid_t> daemons() const;
  /// The processes that bring dead daemons back.
  std::vector<pid_t> supervisors() const;
  /// kill -9 of all of them: nothing comes back by itself.
  void kill_daemons() const;
  std::vector<pid_t> hypervisors() const;
  /// "pid: arguments" of each, one a line.
  std::string process_list() const;

  /// The ends of all logs, to stderr.
  void show_logs() const;

 private:
  std::vector<std::string> with_environment() const;
  void expect_no_sanitizer_report() const;

  fs::path root_, cache_;
  std::vector<std::string> environment_;
  std::vector<std::function<void()>> exits_;
  pid_t keeper_ = -1;
  UniqueFd keeper_pipe_;
};

/// The body of an engine's answer to one GET over a connection of its own; "" when none came within `limit`.
std::string engine_answer(const fs::path& socket, const std::string& path, std::chrono::seconds limit);

/// Whether some process in `pids` listens on TCP or has a bound UDP socket. `udp_too` false for a QEMU whose guest just
/// asked for names or the time: for each such question it has a UDP socket for a while.
bool any_listens_on_ip(const std::vector<pid_t>& pids, bool udp_too = true);
bool alive(pid_t pid);
/// A program, made to look as if it were not installed, for the command that is run through this prefix: in a mount
/// namespace of its own something that cannot be run covers it. Empty where the kernel lets us make none.
std::vector<std::string> without_programs(const std::vector<std::string>& names);
/// Runs a shell script in a mount namespace of its own before the command. Empty likewise.
std::vector<std::string> in_mount_namespace(const std::string& script);

#define EXPECT_OK(result)        \
  do {                           \
    const auto& r_ = (result);   \
    EXPECT_EQ(r_.code, 0) << r_; \
  } while (false)
#define ASSERT_OK(result)        \
  do {                           \
    const auto& r_ = (result);   \
    ASSERT_EQ(r_.code, 0) << r_; \
  } while (false)

/// An error in the form that users see: the exit code, "error: ", and each of `texts` on stderr; nothing on stdout.
void expect_error(const Result& result, int code, const std::vector<std::string>& texts);

}  // namespace cl::e2e
