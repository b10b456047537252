#pragma once

#include <boost/asio/local/stream_protocol.hpp>
#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "src/base/async.hpp"
#include "src/base/unique_fd.hpp"

namespace cl::ssh {

/// What the daemon and the process of an SSH session say to each other: short texts, some with descriptors, over a
/// connected unix socket. On the wire a message is its length in 4 bytes, big endian, the number of its descriptors in
/// one, and its text. One thread only.
class Control : public std::enable_shared_from_this<Control> {
 public:
  struct Message {
    std::string text;
    std::vector<UniqueFd> with;
  };
  struct Limits {
    std::size_t text = 0;         ///< of a message that is received, in bytes
    std::size_t descriptors = 0;  ///< likewise; 0 = whatever is sent is closed
  };
  /// Sends while it waits for nobody. `socket` is made close-on-exec and non-blocking.
  Control(const asio::any_io_executor& executor, UniqueFd socket, Limits limits);

  /// Queues a message. Lost when the peer is gone, which receive() tells.
  void send(std::string text, std::vector<UniqueFd> with = {});
  /// The next message; nothing at the end. Throws Error{protocol} for nonsense and what passes the limits. One at a
  /// time.
  asio::awaitable<std::optional<Message>> receive();
  /// Returns when all is sent that was queued, or cannot be.
  asio::awaitable<void> sent();
  /// Ends it: the peer's receive() and ours return nothing.
  void close() noexcept;
  bool closed() const noexcept { return !socket_.is_open(); }

 private:
  struct Outgoing {
    std::string bytes;
    std::size_t begin = 0;
    std::vector<UniqueFd> with;
  };
  void flush();
  bool send_some(Outgoing& message);
  void receive_some();

  asio::local::stream_protocol::socket socket_;
  Limits limits_;
  std::deque<Outgoing> out_;
  Notifier sent_;
  bool waiting_ = false, ended_ = false;
  std::string in_;
  std::deque<UniqueFd> came_;
};

/// Two connected stream sockets, which close at exec. Throws Error{io}.
std::pair<UniqueFd, UniqueFd> connected_pair();

/// The next part of `text` up to `end`, which is taken off it with that; all of it when there is none.
std::string_view take_until(std::string_view& text, char end) noexcept;

}  // namespace cl::ssh
