#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "provision/channel/frame.hpp"
#include "provision/channel/wire.hpp"
#include "src/base/async.hpp"
#include "src/base/stream.hpp"

namespace cl::mux {

/// Many byte streams to sockets of the guest over one transport, whose far end is guest_mux.pl. Not encrypted: the
/// transport is private to this user, as the machine's memory is.
///
/// Streams that have something to send take turns of `turn` bytes while little is queued, so a small request waits for
/// little. Each stream has credit for `window` bytes each way: one whose reader stalls holds so much, and stops nobody.
///
/// One thread only. Functions that wait keep the mux alive. It is large because streams, their turns and their credit
/// share one state.
class Mux : public std::enable_shared_from_this<Mux> {
 public:
  /// Senders wait while this much is queued.
  static constexpr std::size_t out_limit = 64 * 1024;
  /// So much of what an earlier connection left in the transport is passed over, looking for the nonce.
  static constexpr std::size_t most_stale = 8 << 20;

  /// Takes over the transport. Sends nothing before the far end has said `nonce`, and then that first.
  static std::shared_ptr<Mux> start(const asio::any_io_executor& executor, Transport transport, std::string nonce);
  Mux(const asio::any_io_executor& executor, Transport transport, std::string nonce);  // for start()
  Mux(const Mux&) = delete;
  Mux& operator=(const Mux&) = delete;

  /// Returns when the far end has answered. Throws Error{io} when the transport ends before.
  asio::awaitable<void> wait_up();
  /// Whether a stream that is opened now would be served.
  bool usable() const noexcept { return up_ && !pausing_ && !ended_; }

  /// A connection to a unix socket in the guest, once the guest has made it. Error{guest_failed} when nobody listens
  /// there, or when the mux ends.
  asio::awaitable<std::unique_ptr<ByteStream>> open_unix(std::string path);
  /// Likewise to a TCP port; `address` is numeric.
  asio::awaitable<std::unique_ptr<ByteStream>> open_tcp(std::string address, std::uint16_t port);

  /// Ends it now, because of `reason`: streams fail with Error{io}. May be called again.
  void stop(const std::string& reason = "it was closed on our side") noexcept;
  /// Returns when it has ended, for whatever reason.
  asio::awaitable<void> lost();
  bool ended() const noexcept { return ended_; }
  const std::string& reason() const noexcept { return reason_; }
  /// Streams that have not ended.
  std::size_t streams() const noexcept { return streams_.size(); }
  /// What streams hold for callers who have not read it yet.
  std::size_t unread() const noexcept;

  // Streams outlive the transport when both ends do: the guest's memory is saved and loaded, ours stays.
  /// Stops sending, both ways; returns once all that was sent has been received. From then on the transport's end is
  /// not the mux's: callers wait. Throws Error{io} when it ends before. Cut short, it can only be stopped.
  asio::awaitable<void> park();
  /// After park(): returns when the transport has ended.
  asio::awaitable<void> unplugged();
  /// Then: goes on over another transport to the same far end, with unpark().
  void plug(Transport transport);
  /// Sends again.
  void unpark();

 private:
  friend class MuxStream;
  struct Stream;
  using StreamPtr = std::shared_ptr<Stream>;

  asio::awaitable<std::unique_ptr<ByteStream>> open(std::string where, std::string what);
  asio::awaitable<std::size_t> read(StreamPtr stream, std::span<char> space);
  asio::awaitable<void> write(StreamPtr stream, std::span<const char> bytes);
  void end_writing(const StreamPtr& stream);
  void release(const StreamPtr& stream) noexcept;
  void check(const Stream& stream) const;

  void tell(std::uint32_t stream, FrameType type, std::string_view payload = {});
  void queue(const StreamPtr& stream);
  void serve();
  void give_credit(Stream& stream, std::size_t count);
  void forget_if_ended(const StreamPtr& stream);

  void receive();
  void on_received(error_code ec);
  void take_in(std::string_view bytes);
  void on_frame(const Frame& frame);
  void on_data(Stream& stream, std::string_view bytes);
  void schedule();
  void send();

  asio::any_io_executor executor_;
  Wire wire_;
  WordFinder finder_;
  FrameDecoder decoder_;
  std::string nonce_;
  std::unordered_map<std::uint32_t, StreamPtr> streams_;
  std::uint32_t last_id_ = 0;
  std::deque<StreamPtr> senders_;  ///< with bytes and credit, in the order of their turns
  std::string held_;               ///< frames of the time after a pause
  bool up_ = false, ended_ = false, scheduled_ = false, waiting_writable_ = false;
  bool pausing_ = false;    ///< from park() to unpark()
  bool parked_ = false;     ///< the far end is silent, too
  bool plugged_in_ = true;  ///< the transport stands
  std::string reason_;
  Event answered_, lost_;
  Notifier changed_;  ///< of parked_, plugged_in_
};

}  // namespace cl::mux
