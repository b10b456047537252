#include <signal.h>
#include <sys/resource.h>

#include <cstdio>
#include <cstring>
#include <string_view>

#include "provision/agent/agent_build.hpp"
#include "provision/agent/link.hpp"
#include "provision/agent/services.hpp"
#include "provision/agent/session.hpp"

using namespace cl::agent;

namespace {

int usage() {
  std::fputs(
      "usage: colima-like-agent --stdio | --ports IN OUT | --listen vsock:PORT|unix:PATH|tcp:ADDRESS:PORT | "
      "--version\n",
      stderr);
  return 2;
}

void take_all_descriptors() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

int main(int count, char** words) {
  const std::string_view how = count > 1 ? words[1] : "";
  if (how == "--version" && count == 2) {
    std::printf("colima-like-agent %s protocol %d %s\n", AGENT_BUILD, protocol, hello_words().c_str());
    return 0;
  }
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGCHLD, SIG_IGN);  // children are the kernel's to bury
  take_all_descriptors();
  Session session(&make_stream, hello_words());
  if (how == "--stdio" && count == 2) return serve_stdio(session);
  if (how == "--ports" && count == 4) return serve_ports(session, words[2], words[3]);
  if (how == "--listen" && count == 3) return serve_listener(session, words[2]);
  return usage();
}
