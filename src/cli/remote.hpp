#pragma once

#include <optional>
#include <string>
#include <vector>

#include "profiles/state.hpp"
#include "src/base/async.hpp"
#include "src/cli/command.hpp"
#include "src/rpc/connection.hpp"

/// Commands in the machine for the verbs that do something with what they say; `ssh` hands them to the user's terminal.
namespace cl::cli {

/// The paths of a profile whose machine can be reached, running or suspended. Throws Error{not_found} or
/// Error{not_running}.
ProfilePaths reachable(const Home& home, const std::string& profile);

/// A command that runs in the machine; it is hung up on when this goes. One reader at a time, and one writer.
class RemoteCommand {
 public:
  /// `line` is for the guest's shell. A suspended machine is woken first.
  static asio::awaitable<RemoteCommand> start(ProfilePaths paths, std::string line);

  /// To its stdin, `bytes` of at most rpc::max_payload. Returns when they are on their way; false when nobody takes
  /// them any more: read() and code() then say why.
  asio::awaitable<bool> write(std::string bytes);
  asio::awaitable<void> end_input();

  /// The next bytes of its stdout; nothing when it has ended. Its stderr is kept for failure().
  asio::awaitable<std::optional<std::string>> read();
  /// Up to the end of a line, without its newline; nothing when it ends before that.
  asio::awaitable<std::optional<std::string>> read_line();

  /// Its last lines on stderr.
  std::string last_words() const;
  /// Of one that has ended; 255 when the connection broke.
  int code() const noexcept { return code_; }
  /// Error{guest_failed} that says `what`, because of its last words on stderr.
  Error failure(const std::string& what) const;

 private:
  explicit RemoteCommand(rpc::Connection daemon) : daemon_(std::move(daemon)) {}

  asio::awaitable<bool> send(rpc::Frame frame);

  rpc::Connection daemon_;
  std::string ahead_;  ///< of stdout, behind a line that was read
  std::string errors_;
  int code_ = 255;
  bool ended_ = false;
  bool deaf_ = false;  ///< nothing more can be sent
};

/// Runs a line of the guest's shell with our stdin and stdout, in a terminal when both are one. Returns its exit code.
int run_in_terminal(const Invocation& call, std::string line);

/// Runs a command to its end; its stdout. Throws failure(what) unless it ends with 0.
asio::awaitable<std::string> capture(ProfilePaths paths, std::string line, std::string what);

}  // namespace cl::cli
