#include "src/rpc/server.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/log.hpp"

namespace cl::rpc {

Server::Server(asio::any_io_executor executor, const FileLock&, std::filesystem::path path, Handler handler)
    : path_(std::move(path)), acceptor_(executor), handler_(std::move(handler)), tasks_(executor) {
  ::unlink(path_.c_str());
  acceptor_.open();
  ::fcntl(acceptor_.native_handle(), F_SETFD, FD_CLOEXEC);
  const mode_t before = ::umask(0177);
  error_code ec;
  acceptor_.bind(path_.string(), ec);
  ::umask(before);
  if (ec) throw Error(Errc::io, "cannot create the control socket " + path_.string()).because(ec.message());
  acceptor_.listen();
  tasks_.spawn("control socket", accept());
}

Server::~Server() { ::unlink(path_.c_str()); }

bool Server::close_if_unused() {
  pollfd waiting{acceptor_.native_handle(), POLLIN, 0};
  if (connections_ > 0 || ::poll(&waiting, 1, 0) != 0) return false;
  error_code ignored;
  acceptor_.close(ignored);
  return true;
}

asio::awaitable<void> Server::stop() {
  error_code ignored;
  acceptor_.close(ignored);
  co_await tasks_.stop();
}

asio::awaitable<void> Server::accept() {
  for (;;) {
    auto [ec, socket] = co_await acceptor_.async_accept(no_throw);
    if (ec == asio::error::operation_aborted) co_return;
    if (ec) {
      log::warn("control socket: {}", ec.message());
      co_await sleep_for(std::chrono::milliseconds(100));  // out of descriptors: do not spin
      continue;
    }
    ::fcntl(socket.native_handle(), F_SETFD, FD_CLOEXEC);
    ++connections_;  // now: its task begins a moment later
    tasks_.spawn("control connection", serve(std::move(socket)));
  }
}

asio::awaitable<void> Server::serve(Socket socket) {
  struct Count {
    Server& server;
    explicit Count(Server& s) : server(s) {}
    ~Count() {
      --server.connections_;
      if (server.on_disconnect_) server.on_disconnect_();
    }
  } count(*this);

  Connection connection(std::move(socket));
  std::optional<Error> failure;
  try {
    co_await connection.write_line(std::string(greeting));
    const auto line = co_await connection.read_line();
    if (!line) co_return;
    Request request = decode_request(*line);
    co_await handler_(connection, std::move(request));
  } catch (const Error& error) {
    failure = error;
  }
  if (!failure) co_return;
  log::info("answered with an error: {}", one_line(*failure));
  co_await connection.write_line(encode(Answer(*failure)));
}

}  // namespace cl::rpc
