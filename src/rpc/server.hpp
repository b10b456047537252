#pragma once

#include <boost/asio/local/stream_protocol.hpp>
#include <filesystem>
#include <functional>

#include "src/base/file_lock.hpp"
#include "src/base/task_group.hpp"
#include "src/rpc/connection.hpp"

namespace cl::rpc {

/// The daemon's control socket (0600): each connection carries one request.
class Server {
 public:
  /// Answers one request; may write progress lines before. What it throws becomes the answer.
  using Handler = std::function<asio::awaitable<void>(Connection&, Request)>;

  /// Replaces a socket file that an earlier daemon left: `proof` says that it is gone.
  Server(asio::any_io_executor executor, const FileLock& proof, std::filesystem::path path, Handler handler);
  ~Server();

  /// Connections being served now.
  std::size_t connections() const noexcept { return connections_; }
  /// Called whenever a connection has ended.
  void on_disconnect(std::function<void()> callback) { on_disconnect_ = std::move(callback); }
  /// Stops listening unless a connection is being served or waits to be: false then. Who connects later finds nobody,
  /// and nobody is hung up on.
  bool close_if_unused();
  /// Stops listening, ends every connection and waits for that.
  asio::awaitable<void> stop();

 private:
  asio::awaitable<void> accept();
  asio::awaitable<void> serve(Socket socket);

  std::filesystem::path path_;
  asio::local::stream_protocol::acceptor acceptor_;
  Handler handler_;
  std::function<void()> on_disconnect_;
  std::size_t connections_ = 0;
  TaskGroup tasks_;
};

}  // namespace cl::rpc
