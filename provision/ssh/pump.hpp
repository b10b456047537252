#pragma once

#include <libssh2.h>

#include <boost/asio/any_completion_handler.hpp>
#include <cstddef>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "provision/channel/wire.hpp"
#include "provision/ssh/banner.hpp"
#include "src/base/async.hpp"

namespace cl::ssh {

using Session = LIBSSH2_SESSION;
using Handle = LIBSSH2_CHANNEL;  ///< an open channel

/// One libssh2 session over one transport, and the only code that calls the library for it.
///
/// How it works. libssh2 is never asked to wait. What it sends goes to Wire's buffer, always whole, so the only reasons
/// for its EAGAIN are that the peer has not answered, has no data, or has closed the window: each ends with received
/// bytes. So each batch of received bytes makes one pass, in which every waiting operation has one turn; in between the
/// session sleeps, and idle channels cost nothing. Writes take turns of one packet while the outgoing buffer has room.
/// A call that can be served from what is already there never waits for a turn of the event loop.
///
/// Memory: libssh2 keeps at most `window` plus one read (`read_limit`) of unread bytes for each channel. What a server
/// sends besides (packets of types that nobody asked for, which the library keeps for ever) has `spare_memory`, and
/// answers that it asks for and does not read have `most_unsent`: a session that passes a limit ends.
///
/// Results are libssh2's codes (negative) or what is said below. Cancelling a call takes it back; the session and the
/// other channels go on. One thread only. Functions that wait keep the pump alive.
///
/// It is large because libssh2 has one session whose calls must not overlap: whatever calls it takes turns here.
class Pump : public std::enable_shared_from_this<Pump> {
 public:
  static constexpr unsigned window = 1536 * 1024;
  /// libssh2 1.10 grows the window without end when asked to read more than a quarter of it at a time.
  static constexpr std::size_t read_limit = 128 * 1024;
  static constexpr std::size_t spare_memory = 16 << 20;
  static constexpr std::size_t most_unsent = 4 << 20;
  /// Writes wait while this much is queued: what a small write has to wait behind, at most.
  static constexpr std::size_t out_limit = 256 * 1024;

  /// What the library reads of this computer at its first use, now. Throws Error{internal} when that fails.
  static void prepare();

  /// Takes over the transport and starts to receive. Sends nothing by itself.
  static std::shared_ptr<Pump> start(const asio::any_io_executor& executor, Transport transport);
  Pump(const asio::any_io_executor& executor, Transport transport);
  Pump(const Pump&) = delete;
  Pump& operator=(const Pump&) = delete;
  ~Pump();

  /// Returns when the server's version line has come. Nothing may be sent before: a server that is still busy with an
  /// earlier connection would eat it. Throws Error{io} at the connection's end, Error{protocol} for endless other
  /// bytes.
  asio::awaitable<void> wait_banner();

  /// For handshake, authentication and requests on a channel: calls `attempt` at once and then in each pass until it
  /// returns something else than LIBSSH2_ERROR_EAGAIN; that is the result. Throws Error{io} when the transport ends
  /// first.
  asio::awaitable<int> perform(Handle* channel, std::function<int()> attempt);

  /// Opens the session's own channel, once authenticated. Without a channel libssh2 has no call that reads what comes.
  void start_channels();

  struct Opened {
    Handle* channel = nullptr;  ///< null when refused
    std::string reason;         ///< then: why
  };
  /// libssh2 opens one channel at a time; the callers queue here. Throws Error{io} when the transport ends.
  asio::awaitable<Opened> open(std::string type, std::string message);

  /// Bytes of stream 0 (stdout) or 1 (stderr); 0 = the peer ended its direction. Throws Error{io} when the transport
  /// ended; what came before that is returned first.
  asio::awaitable<std::size_t> read(Handle* channel, int stream, std::span<char> space);
  /// Accepts all of `bytes`. Throws Error{io} when the peer has closed the channel or the transport ended.
  asio::awaitable<void> write(Handle* channel, std::span<const char> bytes);
  /// True once the peer has closed the channel altogether.
  bool closed_by_peer(Handle* channel) noexcept;

  /// Gives a channel up: its pending calls fail with Error{io}, the peer is told, the memory is freed when it may be.
  void release(Handle* channel) noexcept;

  /// Ends everything now: pending calls fail, the socket is closed after an attempt to say goodbye. May be called
  /// again.
  void stop() noexcept;
  /// Returns when the transport has ended, for whatever reason.
  asio::awaitable<void> lost();
  bool ended() const noexcept { return ended_; }
  /// Then: why.
  const std::string& reason() const noexcept { return reason_; }

  // A session outlives its transport when both ends do: the guest's memory is saved and loaded, ours stays.
  /// Stops sending; returns once the peer has taken in everything sent so far. From then on the transport's end is not
  /// the session's: callers wait. Throws Error{io} when the transport ends before, Error{timed_out} when the peer
  /// does not read for a second.
  asio::awaitable<void> quiesce();
  /// After quiesce(): returns when the transport has ended, and all that the peer sent over it is received.
  asio::awaitable<void> detached();
  /// Then: receives over another transport to the same peer.
  void reattach(Transport transport);
  /// Sends again.
  void resume();

  Session* session() noexcept { return session_; }
  int fd() { return wire_.fd(); }

 private:
  using Done = asio::any_completion_handler<void(error_code, long)>;
  struct Opening;
  struct Op {
    Handle* channel = nullptr;
    int stream = 0;
    char* data = nullptr;  // borrowed from the caller, who waits
    std::size_t size = 0;
    std::function<int()> attempt;
    std::shared_ptr<Opening> opening;
    Done done;  // empty once the caller has gone
  };
  using Ops = std::list<Op>;
  struct Ready {
    Done done;
    error_code ec;
    long result = 0;
  };
  struct Callbacks;
  struct Block;
  friend struct Callbacks;

  asio::awaitable<long> wait_for(Ops& queue, Op op);
  void cancel(Ops& queue, Ops::iterator op);
  void finish(Ops& queue, Ops::iterator op, error_code ec, long result);
  void deliver();
  void fail_all(Ops& queue, Handle* only, error_code ec);

  bool breaks(long result) noexcept;
  long try_read(Handle* channel, int stream, char* data, std::size_t size) noexcept;
  long try_write(Handle* channel, const char* data, std::size_t size) noexcept;
  void serve_requests();
  void serve_openings();
  void serve_readers();
  void serve_writers();

  void receive();
  void on_received(error_code ec);
  void look_for_banner();
  void pass();
  void schedule();
  void turn();
  void flush();
  void end(const std::string& reason) noexcept;
  void end_past_limits();
  std::size_t memory_limit() const noexcept { return spare_memory + channels_ * (window + read_limit); }
  Error lost_error(const char* what) const;

  asio::any_io_executor executor_;
  Wire wire_;
  Session* session_ = nullptr;
  Handle* own_channel_ = nullptr;
  BannerFinder banner_finder_;
  bool banner_seen_ = false;
  std::size_t memory_ = 0;    // that libssh2 has allocated
  std::size_t channels_ = 0;  // that libssh2 holds
  bool past_memory_ = false;  // it wanted more than it may have
  Ops requests_, openings_, readers_, writers_;
  std::vector<Ready> ready_;
  bool scheduled_ = false;
  bool serving_ = false;  // within pass() or turn(), which end with deliver() and flush()
  bool waiting_writable_ = false;
  bool cut_short_ = false;  // a writer waits for room in the outgoing buffer
  bool ended_ = false;
  bool quiesced_ = false;      // nothing is sent, and the transport's end is not ours
  bool attached_ = true;       // there is a transport
  bool broken_ = false;        // libssh2 has lost its way in what comes, and is not called any more
  Block* blocks_ = nullptr;    // that libssh2 has allocated
  bool refuse_reads_ = false;  // libssh2 shall give up instead of waiting, while it frees things
  std::string reason_;
  Event banner_, lost_;
  Notifier detached_;
};

}  // namespace cl::ssh
