#include <signal.h>
#include <unistd.h>

#include <cerrno>

#include "profiles/state.hpp"
#include "src/base/child.hpp"
#include "src/base/file.hpp"
#include "src/cli/command.hpp"
#include "src/cli/launch.hpp"

namespace cl::cli {

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
  const std::string lines = std::to_string(call.lines);
  const char* follow = call.follow ? "-F" : "-q";
  ::execl(tail->c_str(), "tail", "-n", lines.c_str(), follow, file.c_str(), static_cast<char*>(nullptr));
  throw io_error("cannot run " + tail->string(), errno);
}

}  // namespace cl::cli
