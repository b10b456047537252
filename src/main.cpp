#include <signal.h>

#include <cstdlib>
#include <string_view>

#include "src/cli/command.hpp"
#include "src/daemon/daemon.hpp"
#include "src/daemon/images.hpp"

namespace {

/// The command line knows no image cache; this is where the two meet.
class ImageBackend : public cl::cli::Backend {
 public:
  cl::asio::awaitable<boost::json::object> build_image(std::string variant, std::string arch,
                                                       OnProgress on_progress) override {
    return cl::build_image(std::move(variant), std::move(arch), std::move(on_progress));
  }
  boost::json::array list_images() override { return cl::list_images(); }
  boost::json::object prune_images() override { return cl::prune_images(); }
};

}  // namespace

/// `colima-like daemon PROFILE FD` is the background process (src/cli/launch.cpp starts it); anything else is a user.
int main(int argc, char** argv) {
  if (argc == 4 && std::string_view(argv[1]) == "daemon") return cl::run_daemon(argv[2], std::atoi(argv[3]));
  // A broken pipe is an error of that write; the daemon's sockets and our children's pipes must not end us.
  ::signal(SIGPIPE, SIG_IGN);
  ImageBackend images;
  return cl::cli::run(argc, argv, images);
}
