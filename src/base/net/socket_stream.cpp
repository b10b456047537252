#include "src/base/net/socket_stream.hpp"

#include <fcntl.h>
#include <sys/socket.h>

#include "src/base/net/unix_socket.hpp"
#include "src/base/platform.hpp"

namespace cl {

SocketStream::SocketStream(Socket socket) : socket_(std::move(socket)) {
  ::fcntl(socket_.native_handle(), F_SETFD, FD_CLOEXEC);
  error_code ignored;
  socket_.non_blocking(true, ignored);  // write() tries before it waits
  const auto local = socket_.local_endpoint(ignored);
  const int family = local.protocol().family();
  tcp_ = !ignored && (family == AF_INET || family == AF_INET6);
  if (tcp_) socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
}

void SocketStream::fail(const char* doing, const error_code& ec) const {
  // A cancelled call is no fault of the connection; after our own close() the same code means "closed".
  if (ec == asio::error::operation_aborted && !closed_) throw boost::system::system_error(ec);
  throw Error(Errc::io, doing).because(closed_ ? "the connection was closed" : ec.message());
}

asio::awaitable<std::size_t> SocketStream::read_some(std::span<char> space) {
  // Asynchronous even when bytes are there: this is where a busy connection lets the others have a turn.
  auto [ec, got] = co_await socket_.async_read_some(asio::buffer(space.data(), space.size()), no_throw);
  if (ec == asio::error::eof) {
    read_ended_ = true;
    co_return 0;
  }
  if (ec) fail("cannot read from the connection", ec);
  co_return got;
}

asio::awaitable<void> SocketStream::write(std::span<const char> bytes) {
  while (!bytes.empty()) {
    error_code ec;
    const std::size_t put = socket_.write_some(asio::buffer(bytes.data(), bytes.size()), ec);
    bytes = bytes.subspan(put);
    if (ec == asio::error::would_block) {
      auto [wait_ec] = co_await socket_.async_wait(Socket::wait_write, no_throw);
      ec = wait_ec;
    }
    if (ec) fail("cannot write to the connection", ec);
  }
}

asio::awaitable<void> SocketStream::shutdown_write() {
  error_code ec;
  socket_.shutdown(Socket::shutdown_send, ec);
  if (ec) fail("cannot end the connection's sending side", ec);
  write_ended_ = true;
  co_return;
}

void SocketStream::close() noexcept {
  if (closed_) return;
  closed_ = true;
  error_code ignored;
  if (tcp_ && !(read_ended_ && write_ended_)) socket_.set_option(asio::socket_base::linger(true, 0), ignored);
  socket_.close(ignored);
}

asio::awaitable<void> SocketStream::hung_up() { return cl::hung_up(socket_); }

asio::awaitable<std::unique_ptr<ByteStream>> connect_unix(std::filesystem::path path) {
  UnixSocket socket(co_await asio::this_coro::executor);
  const error_code ec = co_await try_connect(socket, path);
  if (ec) throw Error(Errc::io, "cannot connect to " + path.string()).because(ec.message());
  co_return std::make_unique<SocketStream>(std::move(socket));
}

asio::awaitable<std::unique_ptr<ByteStream>> connect_tcp(std::string address, std::uint16_t port) {
  error_code ec;
  const auto ip = asio::ip::make_address(address, ec);
  if (ec) throw Error(Errc::invalid_config, "'" + address + "' is no IP address");
  asio::ip::tcp::socket socket(co_await asio::this_coro::executor);
  const asio::ip::tcp::endpoint endpoint(ip, port);
  auto [connect_ec] = co_await socket.async_connect(endpoint, no_throw);
  if (connect_ec == asio::error::operation_aborted) throw boost::system::system_error(connect_ec);
  if (connect_ec)
    throw Error(Errc::io, "cannot connect to " + address + " port " + std::to_string(port))
        .because(connect_ec.message());
  co_return std::make_unique<SocketStream>(std::move(socket));
}

}  // namespace cl
