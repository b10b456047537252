#include "provision/agent/system.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "provision/agent/agent_build.hpp"
#include "src/base/unique_fd.hpp"

namespace cl::agent {

// Not const: else the compiler, which sees its use, too, takes it apart, and nobody finds it in the program.
char build_name[] = AGENT_BUILD;

void die(const char* what) {
  std::perror(what);
  std::exit(1);
}

std::string error_text(int error) { return error == 0 ? "" : std::strerror(error); }

std::string read_file(const char* path, std::size_t limit) {
  std::string text;
  const UniqueFd file(::open(path, O_RDONLY | O_CLOEXEC));
  if (!file) return text;
  char piece[4096];
  while (text.size() < limit) {
    const ssize_t got = ::read(file.get(), piece, sizeof piece);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    text.append(piece, static_cast<std::size_t>(got));
  }
  return text;
}

}  // namespace cl::agent
