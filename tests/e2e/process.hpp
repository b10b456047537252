#pragma once

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <filesystem>
#include <iosfwd>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "src/base/child.hpp"
#include "src/base/unique_fd.hpp"

namespace cl::e2e {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

/// How a program ended and what it said.
struct Result {
  std::string command;
  int code = 0;  ///< exit code; 128 + n for signal n; -1 when it was killed for taking too long
  std::string out, err;
  std::chrono::milliseconds time{};
};
/// Command, code, and the end of both outputs: what a failed expectation needs.
std::ostream& operator<<(std::ostream& out, const Result& result);

/// One program under test. Its stdout and stderr go to files, never to pipes that can fill.
/// Destroying it kills it if it still runs.
class Process {
 public:
  /// `environment` is as in Command; `scratch` is where its output files go.
  Process(std::vector<std::string> argv, std::vector<std::string> environment, const fs::path& scratch);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t pid() const noexcept { return child_->pid(); }
  /// Writes to its stdin; blocks while it does not read.
  void write(std::string_view bytes);
  /// Ends its stdin.
  void end_input();
  void signal(int number) { child_->kill(number); }

  /// What it has said so far.
  std::string out() const;
  std::string err() const;

  /// Ends its stdin and waits for its end.
  Result wait(std::chrono::seconds limit);

 private:
  std::vector<std::string> argv_;
  fs::path out_file_, err_file_;
  std::chrono::steady_clock::time_point began_;
  asio::io_context io_;
  UniqueFd input_;
  std::optional<Child> child_;
  bool ended_ = false;
};

/// Looks every 50 ms until `done()` holds; for what no event tells a test. False when the limit is over.
bool eventually(std::chrono::seconds limit, const std::function<bool()>& done);

/// A program on a pseudo-terminal, driven as a person would.
class Terminal {
 public:
  Terminal(const std::vector<std::string>& argv, const std::vector<std::string>& environment, int columns, int rows);
  ~Terminal();
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  void type(std::string_view keys);
  /// A new window size, as a window manager does it.
  void resize(int columns, int rows);
  /// Reads on until `text` appears after what an earlier call has found. False when the limit is over.
  bool expect(std::string_view text, std::chrono::seconds limit);
  /// Everything it has shown.
  const std::string& screen() const noexcept { return screen_; }
  /// Waits for the end; the code as in Result.
  int wait(std::chrono::seconds limit);

 private:
  bool read_some(std::chrono::steady_clock::time_point deadline);
  UniqueFd master_;
  pid_t pid_ = -1;
  bool ended_ = false;
  std::string screen_;
  std::size_t seen_ = 0;
};

}  // namespace cl::e2e
