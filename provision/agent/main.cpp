#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "provision/agent/link.hpp"
#include "provision/agent/oci_runtime.hpp"
#include "provision/agent/services.hpp"
#include "provision/agent/session.hpp"
#include "provision/agent/system.hpp"

using namespace cl::agent;

namespace {

int usage() {
  std::fputs(
      "usage: colima-like-agent --stdio | --ports IN OUT | --listen vsock:PORT|unix:PATH|tcp:ADDRESS:PORT |\n"
      "       --set-aside MOUNT_POINT FOLDER | --version\n",
      stderr);
  return 2;
}

void take_all_descriptors() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

/// A mount whose server is gone: whoever asks it anything waits for good, as mount(8) and umount(8) do, which look at
/// their paths first. So the system calls are made alone. It is kept mounted at `folder`, where nobody looks.
int set_aside(const char* mount_point, const char* folder) {
  if (::mount(mount_point, folder, "", MS_BIND, "") == 0 && ::umount2(mount_point, MNT_DETACH) == 0) return 0;
  std::fprintf(stderr, "colima-like-agent: %s: %s\n", mount_point, std::strerror(errno));
  return 1;
}

}  // namespace

int main(int count, char** words) {
  if (count > 0) {
    const std::string_view called(words[0]), name = called.substr(called.find_last_of('/') + 1);
    if (name == "crun") return run_oci_runtime(count, words);
    if (name == "libnetwork-setkey") return set_network_key(count, words);
  }
  const std::string_view how = count > 1 ? words[1] : "";
  if (how == "--version" && count == 2) {
    std::printf("colima-like-agent %s protocol %d %s\n", build_name, protocol, hello_words().c_str());
    return 0;
  }
  if (how == "--set-aside" && count == 4) return set_aside(words[2], words[3]);
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGCHLD, SIG_IGN);  // children are the kernel's to bury
  take_all_descriptors();
  if (how == "--stdio") allow_programs();
  Session session(&make_stream, hello_words());
  session.kept_sockets().take_over();
  if (how == "--stdio" && count == 2) return serve_stdio(session);
  if (how == "--ports" && count == 4) return serve_ports(session, words[2], words[3]);
  if (how == "--listen" && count == 3) return serve_listener(session, words[2]);
  return usage();
}
