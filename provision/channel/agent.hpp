#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>

#include "provision/channel/protocol.hpp"
#include "provision/channel/wire.hpp"
#include "provision/guest.hpp"
#include "src/base/async.hpp"
#include "src/base/stream.hpp"

namespace cl {

/// The host's end of a session with the agent in the guest (docs/agent.md): many streams over one transport. Not
/// encrypted: the transport is private to this user, as the machine's memory is.
///
/// Streams that have something to send take turns of one frame while little is queued, so a small request waits for
/// little. Each stream has credit for a window each way: one whose reader stalls holds so much, and stops nobody.
///
/// One thread only. Functions that wait keep the session alive.
/// It is large because each kind of frame has a function each way, and all of them share the table of streams.
class Agent : public std::enable_shared_from_this<Agent> {
 public:
  /// Senders wait while this much is queued.
  static constexpr std::size_t out_limit = 64 * 1024;
  /// So much of what an earlier session left in the transport is passed over, looking for the agent's hello.
  static constexpr std::size_t most_stale = 8 << 20;

  /// Takes over the transport and says hello. `build` is of the agent that this program would install. `window` is how
  /// much of a stream may be on its way at once, each way: a line carries so much in each of its round trips.
  static std::shared_ptr<Agent> start(const asio::any_io_executor& executor, Transport transport,
                                      std::string build = {}, std::uint32_t window = agent::usual_window);
  Agent(const asio::any_io_executor& executor, Transport transport, std::string build,
        std::uint32_t window);  // for start()
  Agent(const Agent&) = delete;
  Agent& operator=(const Agent&) = delete;

  /// Returns when the agent has answered. Throws Error{io} when the transport ends before, Error{protocol} when the
  /// agent speaks another protocol; hello() tells its build then, too.
  asio::awaitable<void> wait_up();
  /// The agent's, once it has answered.
  const agent::Hello& hello() const noexcept { return hello_; }
  /// Whether a stream that is opened now would be served.
  bool usable() const noexcept { return up_ && !pausing_ && !ended_; }

  /// A connection to a unix socket in the guest, once the agent has made it. Error{guest_failed} when nobody listens
  /// there, or when the session ends.
  asio::awaitable<std::unique_ptr<ByteStream>> open_unix(std::string path);
  /// Without the wait for that: what is sent follows at once, and a connection that is refused breaks.
  std::unique_ptr<ByteStream> open_unix_at_once(const std::string& path);
  /// Likewise to a TCP port; `address` is numeric.
  asio::awaitable<std::unique_ptr<ByteStream>> open_tcp(std::string address, std::uint16_t port);
  /// A service of the agent by its name and arguments (docs/agent.md). Error{guest_failed} when it has none such.
  asio::awaitable<std::unique_ptr<MessageStream>> open_service(std::string what);
  /// A listening socket of the guest: "unix PATH" or "tcp ADDRESS PORT".
  asio::awaitable<std::unique_ptr<GuestListener>> listen(std::string where);
  /// A UDP socket of the guest, at once: what becomes of it is seen by what comes back.
  std::unique_ptr<DatagramFlow> open_udp(const std::string& address, std::uint16_t port,
                                         DatagramFlow::OnDatagram on_datagram);

  /// Ends it now, because of `reason`: streams fail with Error{io}. May be called again.
  void stop(const std::string& reason = "it was closed on our side") noexcept;
  /// For who has reason to doubt that it works: an exchange that must end in `limit`, or the session is ended.
  asio::awaitable<void> end_if_silent(std::chrono::milliseconds limit);
  /// Returns when it has ended, for whatever reason.
  asio::awaitable<void> lost();
  bool ended() const noexcept { return ended_; }
  const std::string& reason() const noexcept { return reason_; }
  /// Streams that have not ended.
  std::size_t streams() const noexcept { return streams_.size(); }

  // Streams outlive the transport when both ends do: the guest's memory is saved and loaded, ours stays.
  /// Stops sending, both ways; returns once all that was sent has been received. From then on the transport's end is
  /// not the session's: callers wait. Throws Error{io} when it ends before. Cut short, it can only be stopped.
  asio::awaitable<void> quiesce();
  /// After quiesce(): returns when the transport has ended.
  asio::awaitable<void> detached();
  /// Then: goes on over another transport to the same agent, with resume().
  void reattach(Transport transport);
  /// Sends again.
  void resume();

 private:
  friend class AgentStream;
  friend class AgentMessages;
  friend class AgentFlow;
  friend class AgentListener;
  struct Stream;
  using StreamPtr = std::shared_ptr<Stream>;

  StreamPtr begin(const std::string& what);
  asio::awaitable<std::unique_ptr<ByteStream>> open(std::string service, std::string refused);
  asio::awaitable<void> wait_accepted(StreamPtr stream, std::string what);
  asio::awaitable<std::size_t> read(StreamPtr stream, std::span<char> space);
  asio::awaitable<std::optional<std::string>> read_message(StreamPtr stream);
  asio::awaitable<void> write(StreamPtr stream, std::span<const char> bytes);
  asio::awaitable<void> write_message(StreamPtr stream, std::string_view message);
  bool send_datagram(Stream& stream, std::string_view datagram);
  void end_writing(const StreamPtr& stream);
  void release(const StreamPtr& stream) noexcept;
  void check(const Stream& stream) const;

  void tell(agent::Kind kind, std::uint32_t stream, std::string_view payload = {});
  void put(agent::Kind kind, std::uint32_t stream, std::string_view payload);
  void queue(const StreamPtr& stream);
  void serve();
  void handed_on(Stream& stream, std::size_t count);
  void forget_if_over(const StreamPtr& stream);

  void receive();
  void on_received(error_code ec);
  void take_in();
  void on_hello(std::string_view payload);
  void on_frame(const agent::Frame& frame);
  void on_data(const StreamPtr& stream, std::string_view bytes);
  void schedule();
  void send();

  asio::any_io_executor executor_;
  Wire wire_;
  agent::FrameDecoder decoder_;
  agent::Hello ours_, hello_;
  std::unordered_map<std::uint32_t, StreamPtr> streams_;
  std::uint32_t next_id_ = 1;
  std::deque<StreamPtr> senders_;  ///< with bytes and credit, in the order of their turns
  std::string held_;               ///< frames of the time after a pause
  bool up_ = false, ended_ = false, scheduled_ = false, waiting_writable_ = false;
  bool pausing_ = false;   ///< from quiesce() to resume()
  bool quiesced_ = false;  ///< the agent is silent, too
  bool attached_ = true;   ///< the transport stands
  std::string reason_;
  Event answered_, lost_;
  Notifier changed_;  ///< of quiesced_, attached_
};

}  // namespace cl
