#pragma once

#include <memory>
#include <string>
#include <utility>

#include "src/base/stream.hpp"

/// Byte streams for tests: a connected pair in memory, and a wrapper that splits every read and write.
/// Every parser and relay is tested once over the plain pair and once over the split one.
namespace cl::test {

/// One end of a connection in memory. The peer sees what was written, then 0 after shutdown_write() or close().
/// A write waits while `capacity` bytes are unread, as a socket's would.
class MemoryStream : public ByteStream {
 public:
  using Pair = std::pair<std::unique_ptr<MemoryStream>, std::unique_ptr<MemoryStream>>;
  static Pair pair(const asio::any_io_executor& executor, std::size_t capacity = 64 * 1024);
  ~MemoryStream() override;

  asio::awaitable<std::size_t> read_some(std::span<char> space) override;
  asio::awaitable<void> write(std::span<const char> bytes) override;
  asio::awaitable<void> shutdown_write() override;
  void close() noexcept override;

  /// Breaks the connection as a lost peer does: pending and later calls on both ends throw Error{io},
  /// unread bytes are lost.
  void reset() noexcept;
  /// The connection breaks by itself once this end has written `count` more bytes; the bytes before it arrive.
  void reset_after_writing(std::size_t count) noexcept;

  bool closed() const noexcept { return closed_; }
  /// Bytes written by this end that the peer has not read yet.
  std::size_t unread_by_peer() const noexcept;

 private:
  struct Direction;
  MemoryStream(std::shared_ptr<Direction> in, std::shared_ptr<Direction> out);
  std::shared_ptr<Direction> in_, out_;
  bool closed_ = false;
  static constexpr std::size_t no_fuse = static_cast<std::size_t>(-1);
  std::size_t fuse_ = no_fuse;
};

/// At most `read` bytes come out of a read_some(); a write goes to the inner stream `write` bytes at a time,
/// with a turn of the event loop between the pieces.
struct Chop {
  std::size_t read = 1;
  std::size_t write = 1;
};

/// Wraps `inner`, which it owns.
std::unique_ptr<ByteStream> choppy(std::unique_ptr<ByteStream> inner, Chop chop = {});

/// Reads until the peer ends its direction.
asio::awaitable<std::string> read_to_end(ByteStream& stream);
/// Reads exactly `count` bytes; fewer when the peer ended first.
asio::awaitable<std::string> read_exactly(ByteStream& stream, std::size_t count);

}  // namespace cl::test
