#include "src/base/pipe.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "src/base/error.hpp"

namespace cl {

Pipe make_pipe() {
  int ends[2];
#ifdef __linux__
  if (::pipe2(ends, O_CLOEXEC) != 0) throw io_error("cannot create a pipe", errno);
#else
  if (::pipe(ends) != 0) throw io_error("cannot create a pipe", errno);
  for (const int fd : ends) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
#endif
  return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

}  // namespace cl
