#include "provision/agent/socket_stream.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "provision/agent/system.hpp"

namespace cl::agent {

namespace {

bool is_unix(int socket) {
  int family = 0;
  socklen_t size = sizeof family;
  return ::getsockopt(socket, SOL_SOCKET, SO_DOMAIN, &family, &size) == 0 && family == AF_UNIX;
}

}  // namespace

SocketStream::SocketStream(Session& session, std::uint32_t number, UniqueFd connection)
    : Stream(session, number), socket_(std::move(connection)), is_unix_(is_unix(socket_.get())), taken_(true) {}

void SocketStream::release() {
  if (socket_) session_.loop().remove(socket_.get());
  socket_.reset();
}

void SocketStream::begin() {
  if (taken_) {
    if (!session_.loop().add(socket_.get(), *this)) return session_.refuse(*this, error_text(errno));
    return connected();
  }
  if (!socket_) {
    socket_.reset(::socket(address_.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!socket_) return session_.refuse(*this, error_text(errno));
    const int on = 1;
    if (!is_unix_) ::setsockopt(socket_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  if (::connect(socket_.get(), address_.get(), address_.size) == 0) {
    if (!session_.loop().add(socket_.get(), *this)) return session_.refuse(*this, error_text(errno));
    return connected();
  }
  // A unix socket whose queue is full tells nobody when it is not.
  if (errno == EAGAIN) return session_.again_soon(*this);
  if (errno != EINPROGRESS) return session_.refuse(*this, error_text(errno));
  if (!session_.loop().add(socket_.get(), *this)) session_.refuse(*this, error_text(errno));
}

void SocketStream::connected() {
  connected_ = true;
  session_.accept(*this);
  write_waiting();
}

void SocketStream::ready(std::uint32_t events) {
  if (over) return;
  if (!connected_) {
    if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) == 0) return;
    int failure = 0;
    socklen_t size = sizeof failure;
    ::getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &failure, &size);
    if (failure != 0) return session_.refuse(*this, error_text(failure));
    connected();
    if (over) return;
  }
  if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) hung_up_ = true;
  if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
    readable_ = true;
    session_.queue(*this);
  }
  if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) write_waiting();
}

void SocketStream::take(std::string_view bytes) {
  if (deaf_) return session_.handed_on(*this, bytes.size());
  const std::size_t put = connected_ && waiting_.empty() ? write(bytes) : 0;
  if (deaf_) {
    session_.handed_on(*this, bytes.size());
    return settle();
  }
  if (put > 0) session_.handed_on(*this, put);
  waiting_.append(bytes.substr(put));
}

/// How many bytes the socket takes now.
std::size_t SocketStream::write(std::string_view bytes) {
  std::size_t put = 0;
  while (put < bytes.size()) {
    const ssize_t written = ::send(socket_.get(), bytes.data() + put, bytes.size() - put, MSG_NOSIGNAL);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0 && errno != EAGAIN) deaf_ = true;
    if (written < 0) break;
    put += static_cast<std::size_t>(written);
  }
  return put;
}

void SocketStream::write_waiting() {
  if (!connected_) return;
  while (!waiting_.empty()) {
    const std::string_view bytes = waiting_.front();
    const std::size_t put = write(bytes);
    const std::size_t done = deaf_ ? waiting_.size() : put;
    if (deaf_) waiting_.clear();
    if (!deaf_ && put > 0) waiting_.drop(put);
    if (done > 0) session_.handed_on(*this, done);
    if (put < bytes.size()) break;
  }
  if (waiting_.empty() && end_comes && !written_all_) end_writing();
  settle();
}

void SocketStream::take_end() {
  if (!connected_ || !waiting_.empty()) return;
  end_writing();
  settle();
}

void SocketStream::end_writing() {
  if (!deaf_) ::shutdown(socket_.get(), SHUT_WR);
  written_all_ = true;
}

bool SocketStream::serve() {
  if (!connected_ || !readable_ || ended) return false;
  const std::size_t most = std::min(credit.payload(), most_data);
  if (most == 0) return false;
  const ssize_t got = ::read(socket_.get(), session_.room(most), most);
  if (got > 0) {
    session_.sent(*this, static_cast<std::size_t>(got));
    // TCP gives all it has; what comes then is told anew.
    if (static_cast<std::size_t>(got) < most && !hung_up_ && !is_unix_) readable_ = false;
    return readable_;
  }
  if (got == 0) {
    session_.end(*this);
    settle();
    return false;
  }
  if (errno == EINTR) return true;
  if (errno == EAGAIN) {
    readable_ = false;
  } else {
    session_.reset(*this);
  }
  return false;
}

void SocketStream::settle() {
  if (over || !ended) return;
  if (written_all_) return session_.forget_if_over(*this);
  if (deaf_) session_.reset(*this);
}

void SocketStream::break_off() {
  const linger at_once{1, 0};
  if (socket_) ::setsockopt(socket_.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

}  // namespace cl::agent
