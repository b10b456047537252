#include <cstdlib>
#include <string_view>

#include "src/cli/command.hpp"
#include "src/daemon/daemon.hpp"
#include "src/daemon/images.hpp"

/// `colima-like daemon PROFILE FD` is the background process (src/cli/launch.cpp starts it); anything else is a user.
int main(int argc, char** argv) {
  if (argc == 4 && std::string_view(argv[1]) == "daemon") return cl::run_daemon(argv[2], std::atoi(argv[3]));
  cl::Images images;
  return cl::cli::run(argc, argv, images);
}
