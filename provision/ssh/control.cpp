#include "provision/ssh/control.hpp"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>

namespace cl::ssh {
namespace {

constexpr std::size_t header = 5;
constexpr std::size_t most_with = 2;  ///< descriptors of one message
constexpr std::size_t read_size = 16 * 1024;

#ifdef MSG_NOSIGNAL
constexpr int send_flags = MSG_NOSIGNAL | MSG_DONTWAIT;
#else
constexpr int send_flags = MSG_DONTWAIT;
#endif
#ifdef MSG_CMSG_CLOEXEC
constexpr int receive_flags = MSG_CMSG_CLOEXEC | MSG_DONTWAIT;
#else
constexpr int receive_flags = MSG_DONTWAIT;
#endif

/// Room for the descriptors of one message, aligned as the system wants it.
struct alignas(cmsghdr) Ancillary {
  std::array<char, CMSG_SPACE(sizeof(int) * most_with)> bytes{};
};

}  // namespace

Control::Control(const asio::any_io_executor& executor, UniqueFd socket, Limits limits)
    : socket_(executor), limits_(limits), sent_(executor) {
  socket_.assign(asio::local::stream_protocol(), socket.get());
  ::fcntl(socket.release(), F_SETFD, FD_CLOEXEC);
  socket_.non_blocking(true);
}

void Control::send(std::string text, std::vector<UniqueFd> with) {
  if (ended_) return;
  Outgoing message;
  const auto length = static_cast<std::uint32_t>(text.size());
  for (const int shift : {24, 16, 8, 0}) message.bytes += static_cast<char>(length >> shift & 0xff);
  message.bytes += static_cast<char>(with.size());
  message.bytes += text;
  message.with = std::move(with);
  out_.push_back(std::move(message));
  flush();
}

/// False when the socket takes nothing now, or will never again.
bool Control::send_some(Outgoing& message) {
  iovec part{message.bytes.data() + message.begin, message.bytes.size() - message.begin};
  msghdr what{};
  what.msg_iov = &part;
  what.msg_iovlen = 1;
  Ancillary space;
  if (!message.with.empty()) {
    what.msg_control = space.bytes.data();
    what.msg_controllen = static_cast<decltype(what.msg_controllen)>(CMSG_SPACE(sizeof(int) * message.with.size()));
    cmsghdr* const rights = CMSG_FIRSTHDR(&what);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = static_cast<decltype(rights->cmsg_len)>(CMSG_LEN(sizeof(int) * message.with.size()));
    for (std::size_t i = 0; i < message.with.size(); ++i) {
      const int fd = message.with[i].get();
      std::memcpy(CMSG_DATA(rights) + i * sizeof fd, &fd, sizeof fd);
    }
  }
  const ssize_t sent = ::sendmsg(socket_.native_handle(), &what, send_flags);
  if (sent < 0 && errno == EINTR) return true;
  if (sent < 0) {
    // Too many descriptors under way pass as they are taken; macOS says so of a full buffer, too.
    if (errno != EAGAIN && errno != EWOULDBLOCK && errno != ENOBUFS && errno != ETOOMANYREFS) ended_ = true;
    return false;
  }
  message.with.clear();
  message.begin += static_cast<std::size_t>(sent);
  return true;
}

void Control::flush() {
  while (!out_.empty() && !ended_ && !waiting_) {
    Outgoing& first = out_.front();
    if (send_some(first)) {
      if (first.begin == first.bytes.size()) out_.pop_front();
    } else if (!ended_) {
      waiting_ = true;
      socket_.async_wait(asio::socket_base::wait_write, [self = shared_from_this()](error_code failure) {
        self->waiting_ = false;
        if (!failure) self->flush();
      });
    }
  }
  if (ended_) out_.clear();
  if (out_.empty()) sent_.notify_all();
}

asio::awaitable<void> Control::sent() {
  auto self = shared_from_this();
  while (!out_.empty()) co_await sent_.wait();
}

/// Throws Error{protocol} for descriptors that nobody wants.
void Control::receive_some() {
  std::array<char, read_size> space;
  iovec part{space.data(), space.size()};
  msghdr what{};
  what.msg_iov = &part;
  what.msg_iovlen = 1;
  Ancillary rights;
  if (limits_.descriptors > 0) {
    what.msg_control = rights.bytes.data();
    what.msg_controllen = rights.bytes.size();
  }
  const ssize_t got = ::recvmsg(socket_.native_handle(), &what, receive_flags);
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return;
  if (got <= 0) {
    ended_ = true;
    return;
  }
  for (cmsghdr* one = CMSG_FIRSTHDR(&what); one != nullptr; one = CMSG_NXTHDR(&what, one)) {
    if (one->cmsg_level != SOL_SOCKET || one->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (one->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(one) + i * sizeof fd, sizeof fd);
      ::fcntl(fd, F_SETFD, FD_CLOEXEC);
      came_.emplace_back(fd);
    }
  }
  in_.append(space.data(), static_cast<std::size_t>(got));
}

asio::awaitable<std::optional<Control::Message>> Control::receive() {
  auto self = shared_from_this();
  for (;;) {
    if (in_.size() >= header) {
      std::size_t length = 0;
      for (std::size_t i = 0; i < 4; ++i) length = length << 8U | static_cast<unsigned char>(in_[i]);
      const std::size_t count = static_cast<unsigned char>(in_[4]);
      if (length > limits_.text || count > limits_.descriptors)
        throw Error(Errc::protocol, "the process of the SSH session speaks nonsense");
      if (in_.size() >= header + length && came_.size() >= count) {
        Message message;
        message.text = in_.substr(header, length);
        in_.erase(0, header + length);
        for (std::size_t i = 0; i < count; ++i) {
          message.with.push_back(std::move(came_.front()));
          came_.pop_front();
        }
        co_return message;
      }
    }
    if (ended_) co_return std::nullopt;
    auto [ec] = co_await socket_.async_wait(asio::socket_base::wait_read, no_throw);
    if (ec == asio::error::operation_aborted && !ended_) throw boost::system::system_error(ec);
    if (ec) ended_ = true;
    if (!ended_) receive_some();
  }
}

void Control::close() noexcept {
  ended_ = true;
  error_code ignored;
  socket_.close(ignored);
  out_.clear();
  sent_.notify_all();
}

std::pair<UniqueFd, UniqueFd> connected_pair() {
  int ends[2];
#ifdef SOCK_CLOEXEC
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) throw io_error("socketpair", errno);
#else
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) throw io_error("socketpair", errno);
  for (const int end : ends) ::fcntl(end, F_SETFD, FD_CLOEXEC);
#endif
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

std::string_view take_until(std::string_view& text, char end) noexcept {
  const std::size_t at = text.find(end);
  const std::string_view part = text.substr(0, at);
  text.remove_prefix(at == std::string_view::npos ? text.size() : at + 1);
  return part;
}

}  // namespace cl::ssh
