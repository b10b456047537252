#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <sstream>

#include "src/base/file.hpp"
#include "tests/integration/ssh_lab.hpp"
#include "tests/support/run.hpp"

// A guest whose SSH server is its root's own program: what it can make this process hold has a limit.

extern char** environ;

// AddressSanitizer keeps freed memory, 256 MB of it unless told otherwise.
extern "C" const char* __asan_default_options();  // NOLINT(bugprone-reserved-identifier)
extern "C" const char* __asan_default_options() {
  return "quarantine_size_mb=1:thread_local_quarantine_size_kb=64";
}  // NOLINT(bugprone-reserved-identifier)

namespace cl::test {
namespace {

/// This process's memory, in bytes, as far as it is in use.
std::size_t resident() {
  std::istringstream words(read_file("/proc/self/statm"));
  std::size_t all = 0, pages = 0;
  words >> all >> pages;
  return pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

pid_t start_server(int socket, const std::string& host_key, const std::string& mode) {
  std::string words[] = {COLIMA_LIKE_SYSTEM_PYTHON, COLIMA_LIKE_HOSTILE_SSH, host_key, mode};
  char* argv[] = {words[0].data(), words[1].data(), words[2].data(), words[3].data(), nullptr};
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, socket, 0);
  pid_t pid = -1;
  const int failure = ::posix_spawn(&pid, argv[0], &actions, nullptr, argv, environ);
  ::posix_spawn_file_actions_destroy(&actions);
  return failure == 0 ? pid : -1;
}

struct Attack {
  bool ended = false;
  std::size_t most = 0;  ///< memory that was added, in bytes
};

asio::awaitable<Attack> attack(std::string mode) {
  SshLab lab(co_await asio::this_coro::executor);
  co_await lab.set_up();
  auto [ours, theirs] = socket_pair();
  const pid_t server = start_server(theirs.get(), lab.keys().host_private_key, mode);
  theirs.reset();
  Attack result;
  const auto guest = co_await connect_ssh(std::move(ours), lab.login());
  const std::size_t before = resident();
  auto wait = [](SshGuest& of, bool& ended) -> asio::awaitable<void> {
    co_await of.lost();
    ended = true;
  };
  TaskGroup tasks(co_await asio::this_coro::executor);
  tasks.spawn("the session's end", wait(*guest, result.ended));
  for (int i = 0; i < 600 && !result.ended; ++i) {
    co_await sleep_for(50ms);
    result.most = std::max(result.most, resident() - std::min(before, resident()));
  }
  co_await tasks.stop();
  ::kill(server, SIGKILL);
  ::waitpid(server, nullptr, 0);
  co_await lab.stop();
  co_return result;
}

bool has_paramiko() {
  return ::system(COLIMA_LIKE_SYSTEM_PYTHON " -c 'import paramiko' 2> /dev/null") == 0;  // NOLINT(cert-env33-c)
}

class HostileServer : public testing::TestWithParam<const char*> {};

TEST_P(HostileServer, LosesItsSessionBeforeItTakesMuchMemory) {
  if (!has_paramiko()) GTEST_SKIP() << "python3-paramiko is not installed";
  const Attack seen = run(attack(GetParam()), 60s);
  EXPECT_TRUE(seen.ended);
  EXPECT_LT(seen.most, std::size_t{128} << 20) << "sanitizers take a part of it";
}

INSTANTIATE_TEST_SUITE_P(Floods, HostileServer, testing::Values("packets", "requests"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace cl::test
