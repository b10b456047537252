#pragma once

#include <boost/asio/local/stream_protocol.hpp>
#include <chrono>
#include <filesystem>
#include <functional>
#include <list>

#include "src/base/file_lock.hpp"
#include "src/base/task_group.hpp"
#include "src/rpc/connection.hpp"

namespace cl::rpc {

/// What one user's programs may cost the daemon.
struct ServerLimits {
  std::chrono::milliseconds first_request = std::chrono::seconds(10);  ///< from connecting to the end of its line
  std::chrono::milliseconds last_word = std::chrono::seconds(1);       ///< for telling an error to who does not read
  std::chrono::milliseconds look_again = std::chrono::seconds(30);     ///< whether the socket still has its name
  std::size_t silent = 64;  ///< connections without a request; one more, and the oldest is closed
};

/// The daemon's control socket (0600): each connection carries one request, and gets exactly one result or error. When
/// its name is removed (by a cleaner of temporary files, with its folder perhaps) it is made again: a daemon that
/// nobody can reach would hold its profile for good.
class Server {
 public:
  /// Answers one request by connection.answer(). Whatever it throws before that becomes the answer; afterwards it is
  /// only logged.
  using Handler = std::function<asio::awaitable<void>(Connection&, Request)>;

  /// Replaces a socket that an earlier daemon left: `proof` says that it is gone. Throws Error{io}, also when there is
  /// anything else than a socket.
  Server(asio::any_io_executor executor, const FileLock& proof, std::filesystem::path path, Handler handler,
         ServerLimits limits = {});
  ~Server();

  /// Connections being served now.
  std::size_t connections() const noexcept { return connections_; }
  /// Called whenever a connection has ended.
  void on_disconnect(std::function<void()> callback) { on_disconnect_ = std::move(callback); }
  /// Called when nobody can connect any more, though neither close_if_unused() nor stop() was.
  void on_failure(std::function<void(const Error&)> callback) { tasks_.on_permanent_end(std::move(callback)); }
  /// Stops listening unless a connection is being served or waits to be: false then. Who connects later finds nobody,
  /// and nobody is hung up on.
  bool close_if_unused();
  /// Stops listening, ends every connection and waits for that; who waits for an answer is told.
  asio::awaitable<void> stop();

 private:
  asio::awaitable<void> accept();
  asio::awaitable<void> keep_name();
  asio::awaitable<void> serve(Socket socket);
  asio::awaitable<std::optional<Request>> first_request(Connection& connection);

  std::filesystem::path path_;
  asio::local::stream_protocol::acceptor acceptor_;
  Handler handler_;
  ServerLimits limits_;
  std::function<void()> on_disconnect_;
  std::size_t connections_ = 0;
  std::list<Connection*> silent_;  ///< without a request yet, the oldest first
  bool closed_ = false;
  TaskGroup tasks_;
};

}  // namespace cl::rpc
