#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <iostream>
#include <string>

#include "profiles/state.hpp"
#include "src/base/child.hpp"
#include "src/base/file.hpp"
#include "src/base/pipe.hpp"
#include "src/base/printable.hpp"
#include "src/cli/command.hpp"
#include "src/cli/launch.hpp"

namespace cl::cli {
namespace {

/// Prints what comes from `fd` to its end, line by line, without what a terminal would obey.
void print_printable(int fd) {
  std::string waiting;
  char space[16 * 1024];
  for (;;) {
    const ssize_t got = ::read(fd, space, sizeof space);
    if (got < 0 && errno == EINTR) continue;
    if (got > 0) waiting.append(space, static_cast<std::size_t>(got));
    const std::size_t whole = got > 0 ? waiting.rfind('\n') + 1 : waiting.size();
    std::string lines = waiting.substr(0, whole);
    waiting.erase(0, whole);
    std::erase(lines, '\r');  // the console's line ends
    std::cout << printable(lines, true) << std::flush;
    if (got <= 0) return;
  }
}

/// Runs `tail` with these arguments in the place of this process; on a terminal as its child, whose output is made
/// printable: the console's text is the guest's.
int run_tail(const char* tail, char* const* arguments) {
  if (::isatty(STDOUT_FILENO) == 0) {
    ::execv(tail, arguments);
    throw io_error(std::string("cannot run ") + tail, errno);
  }
  Pipe pipe = make_pipe();
  const pid_t child = ::fork();
  if (child < 0) throw io_error("cannot start " + std::string(tail), errno);
  if (child == 0) {
    ::dup2(pipe.write_end.get(), STDOUT_FILENO);
    ::execv(tail, arguments);
    ::_exit(127);
  }
  pipe.write_end.reset();
  print_printable(pipe.read_end.get());
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

}  // namespace

int run_logs(const Invocation& call) {
  const ProfilePaths paths = profile_paths(call.home, call.profile);
  require_profile(paths);
  const fs::path& file = call.console ? paths.console_log : paths.daemon_log;
  if (!file_exists(file))
    throw Error(Errc::not_found, file.string() + " does not exist yet", "start the profile first");
  // tail waits for changes by inotify or kqueue, survives rotation, and is on every system we run on.
  const auto tail = find_program("tail");
  if (!tail) throw Error(Errc::host_requirement, "the program 'tail' is missing");
  ::signal(SIGPIPE, SIG_DFL);  // inherited through exec if ignored
  std::string words[] = {"tail", "-n", std::to_string(call.lines), call.follow ? "-F" : "-q", file.string()};
  char* arguments[] = {words[0].data(), words[1].data(), words[2].data(), words[3].data(), words[4].data(), nullptr};
  return run_tail(tail->c_str(), arguments);
}

}  // namespace cl::cli
