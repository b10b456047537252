#include "src/cli/socket_link.hpp"

#include <unistd.h>

#include <cerrno>
#include <iostream>

#include "src/base/file.hpp"
#include "src/base/platform.hpp"
#include "src/cli/command.hpp"
#include "src/cli/launch.hpp"

namespace cl::cli {
namespace {

[[noreturn]] void fail(const fs::path& at, int failure) {
  if (failure == EACCES || failure == EPERM || failure == EROFS)
    throw Error(Errc::host_requirement, "this user may not change " + at.string());
  throw io_error("cannot change " + at.string(), failure);
}

fs::path kept(const fs::path& at) { return at.string() + ".before-colima-like"; }

/// Whether it is a link to something in the folder of our profiles.
bool is_ours(const fs::path& link, const fs::path& profiles) {
  std::error_code no_link;
  return fs::read_symlink(link, no_link).string().starts_with(profiles.string() + "/");
}

void move(const fs::path& from, const fs::path& to, const fs::path& at) {
  if (::rename(from.c_str(), to.c_str()) != 0) fail(at, errno);
}

}  // namespace

void link_socket(const fs::path& at, const fs::path& socket, const fs::path& profiles) {
  std::error_code unknown;  // what cannot be looked at cannot be changed either, which is told below
  const fs::file_status there = fs::symlink_status(at, unknown);
  if (fs::exists(there) && !fs::is_symlink(there))
    throw Error(Errc::busy, at.string() + " is there already and is no link: an engine of this host listens there",
                "use the docker context or DOCKER_HOST ('colima-like env'); or end that engine and remove the file");
  // Under another name first: whoever opens the path finds the old or the new link, never none.
  const fs::path made = at.string() + "." + std::to_string(::getpid());
  if (::symlink(socket.c_str(), made.c_str()) != 0) fail(at, errno);
  try {
    if (fs::is_symlink(there) && !is_ours(at, profiles)) move(at, kept(at), at);
    move(made, at, at);
  } catch (const Error&) {
    ::unlink(made.c_str());
    throw;
  }
}

bool unlink_socket(const fs::path& at, const fs::path& profiles) {
  if (!is_ours(at, profiles)) return false;
  if (is_link(kept(at))) {
    move(kept(at), at, at);
  } else if (::unlink(at.c_str()) != 0) {
    fail(at, errno);
  }
  return true;
}

int run_socket_link(const Invocation& call) {
  const ProfilePaths paths = profile_paths(call.home, call.profile);
  require_profile(paths);
  try {
    if (!call.remove) {
      link_socket(usual_socket, paths.docker_socket, call.home.profiles);
      std::cout << usual_socket << " leads to profile '" << paths.name << "' now\n";
    } else if (unlink_socket(usual_socket, call.home.profiles)) {
      std::cout << usual_socket << " is what it was before\n";
    } else {
      std::cout << usual_socket << " does not lead to a profile: nothing to do\n";
    }
  } catch (const Error& error) {
    if (error.code() != Errc::host_requirement) throw;
    throw error.with_remedy("sudo env COLIMA_LIKE_HOME=" + call.home.profiles.string() + " " +
                            platform::executable().string() + " socket-link " + paths.name +
                            (call.remove ? " --remove" : ""));
  }
  return 0;
}

}  // namespace cl::cli
