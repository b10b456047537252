#include "src/base/net/unix_socket.hpp"

#include <fcntl.h>

#include <boost/system/errc.hpp>

#include "src/base/platform.hpp"

namespace cl {

asio::awaitable<error_code> try_connect(UnixSocket& socket, std::filesystem::path path) {
  if (path.native().size() > platform::max_socket_path())
    co_return make_error_code(boost::system::errc::filename_too_long);
  const asio::local::stream_protocol::endpoint endpoint(path.string());
  auto [ec] = co_await socket.async_connect(endpoint, no_throw);
  if (ec == asio::error::operation_aborted) throw boost::system::system_error(ec);
  if (!ec) ::fcntl(socket.native_handle(), F_SETFD, FD_CLOEXEC);
  co_return ec;
}

}  // namespace cl
