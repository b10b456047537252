#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "src/base/file.hpp"

namespace cl::test {

/// Compares what was printed with the file tests/golden/NAME. COLIMA_LIKE_ACCEPT=1 in the environment writes the file
/// instead: look at the difference before it is committed.
inline void expect_golden(const std::string& name, const std::string& printed) {
  const fs::path file = fs::path(COLIMA_LIKE_SOURCE) / "tests" / "golden" / name;
  const char* accept = std::getenv("COLIMA_LIKE_ACCEPT");
  if (accept != nullptr && std::string_view(accept) == "1") {
    fs::create_directories(file.parent_path());
    write_atomically(file, printed, 0644);
    return;
  }
  EXPECT_EQ(read_file_if_exists(file).value_or("(there is no such file)"), printed)
      << "is not what " << file.string() << " has; COLIMA_LIKE_ACCEPT=1 makes it so";
}

}  // namespace cl::test
