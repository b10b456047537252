#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "src/base/file.hpp"
#include "src/cli/command.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl::cli {

struct Said {
  int code;
  std::string output, errors;
};

/// Runs a command line in a home of its own, as if it were another process's.
class CommandLine : public ::testing::Test {
 protected:
  CommandLine() {
    ::setenv("COLIMA_LIKE_HOME", home_.path().c_str(), 1);
    ::setenv("COLIMA_LIKE_CACHE", home_.path().c_str(), 1);
    ::unsetenv("COLIMA_LIKE_PROFILE");
  }
  Said say(std::vector<std::string> words) {
    words.insert(words.begin(), "colima-like");
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    ::testing::internal::CaptureStdout();
    ::testing::internal::CaptureStderr();
    const int code = run(static_cast<int>(argv.size()), argv.data());
    std::string output = ::testing::internal::GetCapturedStdout();
    return {code, output, ::testing::internal::GetCapturedStderr()};
  }
  test::TempDir home_;
};

}  // namespace cl::cli
