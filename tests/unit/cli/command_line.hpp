#pragma once

#include <gtest/gtest.h>

#include <boost/json/array.hpp>
#include <cstdlib>
#include <string>
#include <vector>

#include "src/base/file.hpp"
#include "src/cli/command.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl::cli {

class NoBackend : public Backend {
 public:
  boost::json::array findings;  ///< of examine()
  asio::awaitable<boost::json::object> make_image(std::string, std::string, OnProgress) override {
    co_return boost::json::object{{"name", "n"}};
  }
  boost::json::array list_images() override { return {}; }
  boost::json::object prune_images() override { return {{"removed", boost::json::array{}}, {"freed_bytes", 0}}; }
  asio::awaitable<boost::json::object> examine(Home, std::string) override {
    co_return boost::json::object{{"host", findings}, {"profile", boost::json::array{}}};
  }
  asio::awaitable<std::string> use_context(ProfilePaths) override { co_return ""; }
  asio::awaitable<void> remove_context(ProfilePaths) override { co_return; }
  void clone_profile(const ProfilePaths&, const ProfilePaths&) override {}
  boost::json::object export_profile(const ProfilePaths&, const fs::path&) override { return {{"bytes", 0}}; }
  boost::json::object import_profile(const Home&, std::string, const fs::path&) override { return {{"name", "n"}}; }
};

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
    const int code = run(static_cast<int>(argv.size()), argv.data(), backend_);
    std::string output = ::testing::internal::GetCapturedStdout();
    return {code, output, ::testing::internal::GetCapturedStderr()};
  }
  test::TempDir home_;
  NoBackend backend_;
};

}  // namespace cl::cli
