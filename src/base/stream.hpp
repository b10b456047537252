#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "src/base/async.hpp"

namespace cl {

/// A byte stream whose two directions end independently (docker attach and exec -i need the half-close).
/// One reader and one writer at a time. Cancelling a pending call leaves the stream only fit for close().
class ByteStream {
 public:
  virtual ~ByteStream() = default;

  /// Up to `space.size()` bytes; 0 means the peer has ended its direction.
  /// Throws Error{io} when the connection broke (reset, transport gone).
  virtual asio::awaitable<std::size_t> read_some(std::span<char> space) = 0;

  /// All of `bytes`; returns once they are accepted downstream (that is the backpressure).
  virtual asio::awaitable<void> write(std::span<const char> bytes) = 0;

  /// Ends our direction after what was written; reading goes on.
  virtual asio::awaitable<void> shutdown_write() = 0;

  /// Drops the connection now, both ways; pending calls fail. Never waits, may be called twice.
  virtual void close() noexcept = 0;
};

}  // namespace cl
