#include <signal.h>

#include <cstdlib>
#include <string_view>

#include "src/cli/command.hpp"
#include "src/daemon/daemon.hpp"
#include "src/daemon/doctor.hpp"
#include "src/daemon/images.hpp"
#include "src/daemon/transfer.hpp"

namespace {

/// The command line knows neither images nor disks nor docker; this is where they meet.
class ProgramBackend : public cl::cli::Backend {
 public:
  cl::asio::awaitable<boost::json::object> make_image(std::string setting, std::string arch,
                                                      OnProgress on_progress) override {
    return cl::make_image(std::move(setting), std::move(arch), std::move(on_progress));
  }
  boost::json::array list_images() override { return cl::list_images(); }
  boost::json::object prune_images() override { return cl::prune_images(); }
  cl::asio::awaitable<boost::json::object> examine(cl::Home home, std::string profile) override {
    return cl::doctor(std::move(home), std::move(profile));
  }
  cl::asio::awaitable<std::string> use_context(cl::ProfilePaths paths) override {
    return cl::use_context(std::move(paths));
  }
  cl::asio::awaitable<void> remove_context(cl::ProfilePaths paths) override {
    return cl::remove_context(std::move(paths));
  }
  void clone_profile(const cl::ProfilePaths& from, const cl::ProfilePaths& to) override { cl::clone_profile(from, to); }
  boost::json::object export_profile(const cl::ProfilePaths& from, const std::filesystem::path& file) override {
    return cl::export_profile(from, file);
  }
  boost::json::object import_profile(const cl::Home& home, std::string name,
                                     const std::filesystem::path& file) override {
    return cl::import_profile(home, std::move(name), file);
  }
};

}  // namespace

/// `colima-like daemon PROFILE FD` is the background process (src/cli/launch.cpp starts it); anything else is a user.
int main(int argc, char** argv) {
  if (argc == 4 && std::string_view(argv[1]) == "daemon") return cl::run_daemon(argv[2], std::atoi(argv[3]));
  // A broken pipe is an error of that write; the daemon's sockets and our children's pipes must not end us.
  ::signal(SIGPIPE, SIG_IGN);
  ProgramBackend backend;
  return cl::cli::run(argc, argv, backend);
}
