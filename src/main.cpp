#include <signal.h>

#include <cstdlib>
#include <string_view>

#include "provision/ssh/session_process.hpp"
#include "src/base/confine.hpp"
#include "src/cli/command.hpp"
#include "src/daemon/daemon.hpp"

/// `colima-like daemon PROFILE FD` is the background process (src/cli/launch.cpp starts it), `colima-like confine` runs
/// a program that a guest may take over (src/base/confine.hpp), `colima-like ssh-session` speaks SSH with a guest
/// (provision/ssh/session_process.hpp); anything else is a user.
int main(int argc, char** argv) {
  if (argc == 4 && std::string_view(argv[1]) == "daemon") return cl::run_daemon(argv[2], std::atoi(argv[3]));
  if (argc > 2 && std::string_view(argv[1]) == "confine") return cl::run_confined(argc, argv);
  if (argc == 3 && std::string_view(argv[1]) == "ssh-session") return cl::ssh::run_session_process(argv[2]);
  // A broken pipe is an error of that write; the daemon's sockets and our children's pipes must not end us.
  ::signal(SIGPIPE, SIG_IGN);
  return cl::cli::run(argc, argv);
}
