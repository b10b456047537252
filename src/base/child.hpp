#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/async.hpp"

namespace cl {

/// A program to start. argv[0] is a bare name, looked up in PATH, or a path.
/// The child inherits no descriptor but stdio and `keep`.
struct Command {
  std::vector<std::string> argv;
  std::vector<std::string> environment;  ///< "NAME=value" added to (or over) ours; "NAME" alone unsets it
  std::filesystem::path directory;       ///< working directory; empty = ours
  int input = -1;                        ///< descriptor for stdin; -1 = /dev/null. Likewise below. Not owned.
  int output = -1;
  int errors = -1;
  std::vector<int> keep;     ///< descriptors the child also inherits, under the same numbers
  bool small_pages = false;  ///< Linux: no transparent huge pages for it, whatever it asks for
  bool new_session = false;  ///< setsid(): the terminal's Ctrl-C and hang-up do not reach it
};

/// How a process ended: exit code, or the signal that killed it.
struct ExitStatus {
  int code = 0;
  int signal = 0;
  bool ok() const { return code == 0 && signal == 0; }
  /// "exit code 3" or "signal 9".
  std::string str() const;
};

/// A running child process. Destroying it leaves the process running and unreaped:
/// wait() for it, or kill() it and wait(), unless it is meant to outlive us.
class Child {
 public:
  /// Throws Error{host_requirement} when the program is missing, Error{io} when it cannot start.
  static Child start(const asio::any_io_executor& executor, const Command& command);
  Child(Child&&) noexcept;
  Child& operator=(Child&&) noexcept;
  ~Child();

  pid_t pid() const noexcept;
  /// Waits for the end and reaps it. Cancelling leaves the process alone.
  asio::awaitable<ExitStatus> wait();
  /// Sends a signal; does nothing once wait() has returned.
  void kill(int signal);
  /// The same to a child with a session of its own and to all that it started in there.
  void kill_group(int signal);

 private:
  struct State;
  explicit Child(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// What run() collected. Output past 16 MiB is dropped from the front.
struct Finished {
  ExitStatus status;
  std::string output, errors;
};

/// Called with each complete line (without its newline) of a program's stdout while it runs.
using OnLine = std::function<void(std::string_view)>;

/// Runs a program to its end with `input` on stdin, collecting stdout and stderr; `command`'s
/// descriptors are ignored. A cancellation or the limit kills its whole session and reaps it.
asio::awaitable<Finished> run(Command command, std::string input, std::chrono::milliseconds limit, OnLine on_line = {});

/// The program's path, or nothing: absolute and relative paths are checked, bare names searched in PATH.
std::optional<std::filesystem::path> find_program(std::string_view name);

}  // namespace cl
