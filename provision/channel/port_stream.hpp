#pragma once

#include <memory>

#include "provision/channel/wire.hpp"
#include "src/base/async.hpp"
#include "src/base/stream.hpp"

namespace cl {

/// A byte stream to a program of the guest that has a pair of the machine's ports to itself, with nothing in between:
/// for one that would have to wait for SSH at each of its many small exchanges (sshfs: docs/benchmarks.md). Not
/// encrypted, as the agent's session is not: the ports are private to this user, like the machine's memory.
///
/// Ports have no end of input: shutdown_write() closes. One thread only.
class PortStream : public ByteStream, public std::enable_shared_from_this<PortStream> {
 public:
  static std::shared_ptr<PortStream> start(const asio::any_io_executor& executor, Transport transport);
  PortStream(const asio::any_io_executor& executor, Transport transport);  // for start()

  asio::awaitable<std::size_t> read_some(std::span<char> space) override;
  asio::awaitable<void> write(std::span<const char> bytes) override;
  asio::awaitable<void> shutdown_write() override;
  void close() noexcept override;

  // The stream outlives its transport when both ends do: the guest's memory is saved and loaded, ours stays.
  /// Stops sending; returns once the guest's side has taken in all that was sent. From then on the transport's end is
  /// not the stream's. A side that does not read for some seconds closes it.
  asio::awaitable<void> quiesce();
  /// After quiesce(): returns when the transport has ended, and all that came over it is received.
  asio::awaitable<void> detached();
  /// Then: goes on over another transport to the same program, with resume().
  void reattach(Transport transport);
  /// Sends again.
  void resume();

 private:
  void receive();

  Wire wire_;
  bool receiving_ = false;
  bool quiesced_ = false;
  bool attached_ = true;  ///< the transport stands
  bool ended_ = false;    ///< by the guest
  bool closed_ = false;   ///< by us
  Notifier changed_;
};

}  // namespace cl
