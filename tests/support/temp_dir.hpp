#pragma once

#include <filesystem>
#include <string>

#include "src/base/file.hpp"

namespace cl::test {

/// Where files are in memory, if there is such a place: for tests that write much and would wait for the disk.
inline std::filesystem::path fast_directory() {
  std::error_code ignored;
  return std::filesystem::is_directory("/dev/shm", ignored) ? "/dev/shm" : "/tmp";
}

/// A directory of its own under /tmp (not $TMPDIR: unix socket paths must stay short), gone at the end of the test.
class TempDir {
 public:
  explicit TempDir(const std::filesystem::path& parent = "/tmp") : directory_(parent, "cl-test-") {}
  const std::filesystem::path& path() const noexcept { return directory_.path(); }
  std::filesystem::path operator/(const std::filesystem::path& name) const { return path() / name; }

 private:
  TemporaryDirectory directory_;
};

}  // namespace cl::test
