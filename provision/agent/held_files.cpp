#include <fcntl.h>
#include <sys/stat.h>

#include <map>
#include <string>

#include "provision/agent/services.hpp"
#include "src/base/unique_fd.hpp"

// Keeps files open for the host. A container's mount of a single file is no open file to the server of its share; one
// that is replaced there, as editors do, would be gone ("Stale file handle"), which it is not on any Linux.

namespace cl::agent {
namespace {

constexpr std::size_t most = 1024;

UniqueFd open_file(const std::string& path) {
  UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW));
  struct stat facts{};
  const bool regular = file && ::fstat(file.get(), &facts) == 0 && S_ISREG(facts.st_mode);
  return regular ? std::move(file) : UniqueFd();
}

}  // namespace

void hold(Channel& host, std::string_view) {
  std::map<std::string, UniqueFd> files;
  std::string message;
  while (host.receive(message)) {
    if (message.size() < 2) continue;
    const std::string path = message.substr(1);
    if (message.front() == '-') {
      files.erase(path);
    } else if (message.front() == '+' && files.size() < most && !files.contains(path)) {
      if (UniqueFd file = open_file(path)) files.emplace(path, std::move(file));
    }
  }
}

}  // namespace cl::agent
