#include "provision/channel/wire.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace cl {
namespace {

int family_of(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0)
    throw io_error("cannot use the connection to the guest", errno);
  return address.ss_family;
}

#ifdef MSG_NOSIGNAL
constexpr int send_flags = MSG_NOSIGNAL | MSG_DONTWAIT;
#else
constexpr int send_flags = MSG_DONTWAIT;  // SO_NOSIGPIPE does it there
#endif

}  // namespace

Wire::Wire(const asio::any_io_executor& executor, Transport transport)
    : receiver_(executor), sender_(executor), in_(in_capacity) {
  replace(std::move(transport));
}

void Wire::replace(Transport transport) {
  tcp_ = adopt(transport.receive, receiver_);
  if (transport.send) adopt(transport.send, sender_);
}

/// True when it is TCP.
bool Wire::adopt(UniqueFd& from, Socket& socket) {
  const int family = family_of(from.get());
  const bool tcp = family == AF_INET || family == AF_INET6;
  const int on = 1;
  // Without it each small packet waits for the acknowledgement of the one before it: 40 ms with delayed ACKs.
  if (tcp) ::setsockopt(from.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
#ifdef SO_NOSIGPIPE
  ::setsockopt(from.get(), SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof(on));
#endif
  socket.assign(asio::generic::stream_protocol(family, 0), from.get());
  (void)from.release();
  socket.non_blocking(true);
  return tcp;
}

std::size_t Wire::take(char* space, std::size_t size) noexcept {
  const std::size_t count = std::min(size, in_end_ - in_begin_);
  std::memcpy(space, in_.data() + in_begin_, count);
  in_begin_ += count;
  return count;
}

void Wire::make_room() {
  if (in_begin_ == 0) return;
  std::memmove(in_.data(), in_.data() + in_begin_, in_end_ - in_begin_);
  in_end_ -= in_begin_;
  in_begin_ = 0;
}

void Wire::acknowledge_at_once() noexcept {
#ifdef TCP_QUICKACK
  // sshd leaves Nagle on until a terminal asks otherwise, so its small answers wait for our acknowledgement, which the
  // kernel would delay. The kernel forgets this option, hence after every read: 0.5 ms instead of 44 ms per exchange.
  const int on = 1;
  ::setsockopt(fd(), IPPROTO_TCP, TCP_QUICKACK, &on, sizeof(on));
#endif
}

error_code Wire::flush() {
  while (pending() > 0) {
    const ssize_t sent = ::send(sender().native_handle(), out_.data() + out_begin_, pending(), send_flags);
    if (sent < 0) {
      const int failure = errno;
      if (failure == EINTR) continue;
      if (failure == EAGAIN || failure == EWOULDBLOCK) break;
      return {failure, boost::system::system_category()};
    }
    out_begin_ += static_cast<std::size_t>(sent);
  }
  if (pending() == 0) {
    out_.clear();
    out_begin_ = 0;
    return {};
  }
  // Queued bytes move to the front only when most of the space is used up: each is moved about once.
  if (out_begin_ > out_.size() / 2) {
    out_.erase(out_.begin(), out_.begin() + static_cast<std::ptrdiff_t>(out_begin_));
    out_begin_ = 0;
  }
  return asio::error::would_block;
}

void Wire::close() noexcept {
  error_code ignored;
  receiver_.close(ignored);
  sender_.close(ignored);
}

}  // namespace cl
