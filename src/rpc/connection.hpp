#pragma once

#include <boost/asio/local/stream_protocol.hpp>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "src/base/async.hpp"
#include "src/rpc/message.hpp"
#include "src/rpc/requests.hpp"

namespace cl::rpc {

using Socket = asio::local::stream_protocol::socket;

/// One end of a conversation. One reader and one writer at a time.
class Connection {
 public:
  explicit Connection(Socket socket) : socket_(std::move(socket)) {}

  /// A line without its newline; nothing when the peer has ended. Throws Error{protocol} past max_line, and when the
  /// peer ends inside of a line.
  asio::awaitable<std::optional<std::string>> read_line();
  asio::awaitable<void> write_line(std::string line);

  // The daemon's end.

  /// Nothing when the peer has ended. Throws Error{protocol} for what is no request.
  asio::awaitable<std::optional<Request>> read_request();
  /// Progress as often as wanted, and then one result or one error: further lines throw Error{internal}.
  asio::awaitable<void> answer(Answer answer);
  /// Whether the result or the error was given.
  bool answered() const noexcept { return answered_; }

  /// A frame; nothing when the peer has ended.
  asio::awaitable<std::optional<Frame>> read_frame();
  asio::awaitable<void> write_frame(Frame frame);

  /// Returns when the peer is gone altogether, also while what it sent lies unread; where the system cannot tell,
  /// never.
  asio::awaitable<void> hung_up();

  /// Runs `work`, which sends, until it ends or fails, or the peer ends its side; then it is cancelled. What the peer
  /// still says is passed over. Closes the connection: a failure can only be told by its end.
  asio::awaitable<void> serve_until_gone(asio::awaitable<void> work);

  void close();

 private:
  asio::awaitable<bool> read_more();
  Socket socket_;
  std::string buffer_;
  std::vector<std::string> ignored_;  ///< of the request
  bool answered_ = false;
};

/// Lets several coroutines send frames on one connection, one after the other.
class FrameSender {
 public:
  FrameSender(Connection& connection, const asio::any_io_executor& executor)
      : connection_(connection), free_(executor) {}
  asio::awaitable<void> send(Frame frame);

 private:
  Connection& connection_;
  Notifier free_;
  bool busy_ = false;
};

/// The line that a daemon sends first on each connection. A socket whose daemon was just killed still takes
/// connections for a moment; nobody greets there. Programs of version 0.1.0 take no other; later ones also take it with
/// a space and a version behind.
inline constexpr std::string_view greeting = "colima-like";

/// Connects to a daemon; nothing when nobody lives at `path`. Throws Error{protocol} for another program's socket, and
/// Error{timed_out} when nobody greets within `patience`.
asio::awaitable<std::optional<Connection>> connect(std::filesystem::path path,
                                                   std::chrono::milliseconds patience = std::chrono::seconds(30));

/// Who watches a request: any of them may be empty.
struct Watcher {
  std::function<void(const Progress&)> on_progress;
  std::function<void(const std::string&)> on_note;  ///< what the daemon's version has to do with the answer
};

/// Reads up to the answer of a request that was sent. The daemon's Error is thrown; Error{protocol} when the daemon
/// ends without an answer.
asio::awaitable<json::object> await_answer(Connection& connection, Watcher watcher);

}  // namespace cl::rpc
