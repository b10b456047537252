#include <cerrno>
#include <system_error>

#include "src/base/file.hpp"
#include "src/base/net/held_socket.hpp"
#include "src/base/path.hpp"

namespace cl {

HeldSocket hold_socket(const std::filesystem::path& folder, const std::filesystem::path& path) {
  std::error_code missing;
  std::filesystem::path real = std::filesystem::canonical(path, missing);
  if (missing) throw file_error("find", path, missing.value());
  if (!is_below(real, folder)) throw file_error("follow out of " + folder.string(), path, EXDEV);
  if (std::filesystem::status(real, missing).type() != std::filesystem::file_type::socket)
    throw file_error("connect to", path, ENOTSOCK);
  return {UniqueFd(), std::move(real)};
}

}  // namespace cl
