#pragma once

#include <filesystem>
#include <string>

#include "src/base/file.hpp"

namespace cl::test {

/// A directory of its own under /tmp (not $TMPDIR: unix socket paths must stay short), gone at the end of the test.
class TempDir {
 public:
  TempDir() : directory_("/tmp", "cl-test-") {}
  const std::filesystem::path& path() const noexcept { return directory_.path(); }
  std::filesystem::path operator/(const std::filesystem::path& name) const { return path() / name; }

 private:
  TemporaryDirectory directory_;
};

}  // namespace cl::test
