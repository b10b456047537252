#include "provision/ssh/library.hpp"

#include <libssh2.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "src/base/confine.hpp"
#include "src/base/error.hpp"
#include "src/base/pipe.hpp"

namespace cl::ssh {

std::string_view library_version() noexcept { return ::libssh2_version(0); }

std::string why_not_apart() {
  Pipe pipe = make_pipe();
  const pid_t child = ::fork();
  if (child < 0) return std::string("no process can be made: ") + std::strerror(errno);
  if (child == 0) {
    std::string why;
    try {
      seal_process(std::size_t{512} << 20);
    } catch (const Error& error) {
      why = one_line(error);
    }
    [[maybe_unused]] const ssize_t told = ::write(pipe.write_end.get(), why.data(), why.size());
    ::_exit(why.empty() ? 0 : 1);
  }
  pipe.write_end.reset();
  std::array<char, 512> space;
  const ssize_t got = ::read(pipe.read_end.get(), space.data(), space.size());
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return "";
  return got > 0 ? std::string(space.data(), static_cast<std::size_t>(got)) : "the process that tried it was ended";
}

}  // namespace cl::ssh
