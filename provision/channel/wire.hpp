#pragma once

#include <boost/asio/generic/stream_protocol.hpp>
#include <cstddef>
#include <string_view>
#include <utility>
#include <vector>

#include "src/base/async.hpp"
#include "src/base/platform.hpp"
#include "src/base/unique_fd.hpp"

namespace cl {

/// What carries a connection: one connected stream socket, or two of which each carries one direction.
struct Transport {
  Transport(UniqueFd both) : receive(std::move(both)) {}  // NOLINT(google-explicit-constructor): the usual case
  Transport(UniqueFd from, UniqueFd to) : receive(std::move(from)), send(std::move(to)) {}
  UniqueFd receive;  ///< also sends where `send` is empty
  UniqueFd send;
};

/// A transport with a buffer on each side, between the kernel and libssh2. What libssh2 sends is always
/// taken whole: it never sees a half-sent packet, which is the state in which its versions misbehave each in its own
/// way. The user of this class bounds the outgoing side by not asking libssh2 for more while pending() is high.
class Wire {
 public:
  /// Received at once at most. Larger gains nothing measurable.
  static constexpr std::size_t in_capacity = 128 * 1024;

  Wire(const asio::any_io_executor& executor, Transport transport);

  int fd() { return receiver_.native_handle(); }

  /// Moves up to `size` received bytes out; how many.
  std::size_t take(char* space, std::size_t size) noexcept;
  std::string_view unread() const noexcept { return {in_.data() + in_begin_, in_end_ - in_begin_}; }
  void skip(std::size_t count) noexcept { in_begin_ += count; }
  bool has_room() const noexcept { return unread().size() < in_.size(); }

  /// Receives what is there, at least one byte: `done(error_code)`, after which unread() has it; asio::error::eof at
  /// the end. Call only with has_room(), and once at a time.
  template <class Done>
  void receive(Done done) {
    make_room();
    auto space = asio::buffer(in_.data() + in_end_, in_.size() - in_end_);
    receiver_.async_receive(space, [this, done = std::move(done)](error_code ec, std::size_t got) mutable {
      in_end_ += got;
      if (tcp_) acknowledge_at_once();
      done(ec);
    });
  }

  /// Queues bytes for flush().
  void put(const char* bytes, std::size_t size) { out_.insert(out_.end(), bytes, bytes + size); }
  /// Queued and not yet given to the kernel.
  std::size_t pending() const noexcept { return out_.size() - out_begin_; }
  /// Gives the kernel what it takes now. asio::error::would_block when something is left.
  error_code flush();
  /// `done(error_code)` once the kernel takes bytes again.
  template <class Done>
  void wait_writable(Done done) {
    sender().async_wait(Socket::wait_write, std::move(done));
  }

  /// Bytes that the kernel took and the peer has not read yet.
  std::size_t undelivered() { return platform::unread_by_peer(sender().native_handle()); }

  /// Goes on over another transport to the same peer; what was received or queued stays. After close().
  void replace(Transport transport);

  /// Closes the transport; received bytes stay readable, pending operations end with operation_aborted.
  void close() noexcept;

 private:
  using Socket = asio::generic::stream_protocol::socket;
  Socket& sender() noexcept { return sender_.is_open() ? sender_ : receiver_; }
  static bool adopt(UniqueFd& from, Socket& socket);
  void make_room();
  void acknowledge_at_once() noexcept;

  Socket receiver_, sender_;
  bool tcp_ = false;
  std::vector<char> in_;
  std::size_t in_begin_ = 0, in_end_ = 0;
  std::vector<char> out_;
  std::size_t out_begin_ = 0;
};

}  // namespace cl
