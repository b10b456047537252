#include "provision/agent/message_stream.hpp"

#include <sys/epoll.h>

#include <cerrno>

#include "provision/agent/system.hpp"

namespace cl::agent {
namespace {

constexpr int datagrams_in_a_turn = 16;

}  // namespace

// ---- UDP ---------------------------------------------------------------------------------------------------------

void UdpStream::release() {
  if (socket_) session_.loop().remove(socket_.get());
  socket_.reset();
}

void UdpStream::begin() {
  socket_.reset(::socket(address_.family(), SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket_ || ::connect(socket_.get(), address_.get(), address_.size) != 0 ||
      !session_.loop().add(socket_.get(), *this))
    return session_.refuse(*this, error_text(errno));
  session_.accept(*this);
}

void UdpStream::take(std::string_view datagram) {
  ::send(socket_.get(), datagram.data(), datagram.size(), MSG_NOSIGNAL);
  session_.handed_on(*this, datagram.size());
}

void UdpStream::ready(std::uint32_t events) {
  if (over || (events & (EPOLLIN | EPOLLERR)) == 0) return;
  readable_ = true;
  session_.queue(*this);
}

bool UdpStream::serve() {
  for (int i = 0; i < datagrams_in_a_turn && readable_; ++i) {
    if (credit.payload() < most_payload) return false;
    const ssize_t got = ::recv(socket_.get(), session_.room(most_payload), most_payload, 0);
    if (got >= 0) {
      session_.sent(*this, static_cast<std::size_t>(got));
    } else if (errno == EAGAIN) {
      readable_ = false;
    }  // else what became of an earlier datagram: nobody is there, or no way leads there
  }
  return readable_;
}

// ---- a child -----------------------------------------------------------------------------------------------------

void ChildStream::release() {
  if (child_.fd() >= 0) session_.loop().remove(child_.fd());
  child_.stop();
}

void ChildStream::begin() {
  std::string why;
  if (!child_.start(service_, arguments_, why)) return session_.refuse(*this, why);
  if (!session_.loop().add(child_.fd(), *this)) return session_.refuse(*this, error_text(errno));
  session_.accept(*this);
}

/// False when the child takes no more now.
bool ChildStream::give(std::string_view message) {
  if (::send(child_.fd(), message.data(), message.size(), MSG_NOSIGNAL) < 0 && errno == EAGAIN) return false;
  session_.handed_on(*this, message.size());  // also of a child that is gone: its end comes
  return true;
}

void ChildStream::take(std::string_view message) {
  if (message.empty() || (waiting_.empty() && give(message))) return;
  waiting_.emplace_back(message);
}

void ChildStream::give_waiting() {
  while (!waiting_.empty() && give(waiting_.front())) waiting_.pop_front();
  if (waiting_.empty() && end_comes) ::shutdown(child_.fd(), SHUT_WR);
}

void ChildStream::take_end() {
  give_waiting();
  session_.forget_if_over(*this);
}

void ChildStream::ready(std::uint32_t events) {
  if (over) return;
  if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
    readable_ = true;
    session_.queue(*this);
  }
  if (events & EPOLLOUT) give_waiting();
}

bool ChildStream::serve() {
  if (!readable_ || ended || credit.payload() < most_data) return false;
  const ssize_t got = ::recv(child_.fd(), session_.room(most_data), most_data, 0);
  if (got > 0) {
    session_.sent(*this, static_cast<std::size_t>(got));
    return true;
  }
  if (got < 0 && errno == EAGAIN) {
    readable_ = false;
    return false;
  }
  session_.end(*this);
  session_.forget_if_over(*this);
  return false;
}

}  // namespace cl::agent
