#include "vm/hypervisor.hpp"

#include <fcntl.h>

#include <cerrno>

#include "src/base/file.hpp"

namespace cl {

UniqueFd open_driver_log(const std::filesystem::path& path) {
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!fd) throw file_error("open", path, errno);
  return fd;
}

}  // namespace cl
