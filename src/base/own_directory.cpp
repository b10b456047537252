#include "src/base/own_directory.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "src/base/error.hpp"

namespace cl {
namespace {

namespace fs = std::filesystem;

/// The system's is root; in a user name space its directories may be nobody's.
bool is_trusted(uid_t owner) {
  struct stat root{};
  return owner == ::geteuid() || owner == 0 || (::stat("/", &root) == 0 && owner == root.st_uid);
}

Error of_another(const fs::path& path) {
  return {Errc::io, path.string() + " belongs to another user",
          "remove it, or set COLIMA_LIKE_HOME to a directory of yours"};
}

}  // namespace

void require_own_directory(const fs::path& path) {
  struct stat facts{};
  if (::lstat(path.c_str(), &facts) != 0) return;
  if (S_ISLNK(facts.st_mode) && !is_trusted(facts.st_uid)) throw of_another(path);
  if (::stat(path.c_str(), &facts) != 0) return;
  if (facts.st_uid != ::geteuid()) throw of_another(path);
  std::error_code unknown;
  fs::path above = fs::canonical(path, unknown);
  if (unknown) return;
  while (above.has_relative_path()) {
    above = above.parent_path();
    if (::lstat(above.c_str(), &facts) == 0 && !is_trusted(facts.st_uid))
      throw of_another(above).because(path.string() + " is below it");
  }
}

}  // namespace cl
