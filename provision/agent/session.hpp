#pragma once

#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "provision/agent/arrivals.hpp"
#include "provision/agent/kept_sockets.hpp"
#include "provision/agent/loop.hpp"
#include "provision/agent/out_buffer.hpp"
#include "provision/channel/protocol.hpp"

namespace cl::agent {

class Session;

/// The agent's end of a stream. Ends by Session::forget(), refuse() or reset().
class Stream {
 public:
  Stream(Session& session, std::uint32_t id);
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  virtual ~Stream() = default;

  /// Connects, and says whether that went well: `accepted` or refuse(), now or later.
  virtual void begin() = 0;
  /// The host's bytes, or one message of its.
  virtual void take(std::string_view bytes) = 0;
  /// The host's direction has ended; with it ends ours, unless there is more to say.
  virtual void take_end();
  /// A turn: sends one frame at most. True when there may be more to send.
  virtual bool serve() { return false; }
  /// It is not to end, but to break off.
  virtual void break_off() {}
  /// It is forgotten: what others may need is given back now, while it waits to be destroyed.
  virtual void release() = 0;

  const std::uint32_t id;
  Credit credit;
  Window window;
  bool queued = false;     ///< waits for its turn
  bool over = false;       ///< forgotten; it is destroyed at the end of the turn
  bool ended = false;      ///< our direction
  bool end_comes = false;  ///< the host's has ended

 protected:
  Session& session_;
};

/// Makes the stream for the payload of an `open`; null with why there is none.
using MakeStream = std::unique_ptr<Stream> (*)(Session& session, std::uint32_t id, std::string_view what,
                                               std::string& why);

/// Many streams over one byte stream to the host: what has come is acted on, what is to be sent takes turns. It is
/// large because each kind of frame has a function, and all of them share the table of streams.
class Session : public Watched {
 public:
  /// Senders wait while this much waits for the host.
  static constexpr std::size_t out_limit = 64 * 1024;

  /// `words`: what the agent's hello ends with.
  Session(MakeStream make, std::string words) : make_(make), words_(std::move(words)) {}

  /// The host is there. The descriptors are not blocking, may be the same, and stay the caller's. A port's host
  /// `comes_back`, over the same descriptors. False, with errno, when they cannot be waited for.
  [[nodiscard]] bool attach(int in, int out, bool comes_back);
  /// The descriptors are not used any more; streams are broken off.
  void detach();
  /// The connection is at its end.
  bool ended() const { return ended_; }

  /// Waits until something is ready, and does what there is to do.
  void turn();

  /// All that is waited for, and what is while the machine may be saved at any moment: nothing of the guest's own.
  Loop& loop() { return loop_; }
  Loop& link_loop() { return link_loop_; }

  // For streams.
  void accept(Stream& stream) { out_.put(Kind::accepted, stream.id, {}); }
  /// A message. There must be credit for it.
  void send(Stream& stream, std::string_view message);
  /// Where `size` bytes of data at most may be put, and how many they have become.
  char* room(std::size_t size) { return out_.room(size); }
  void sent(Stream& stream, std::size_t size);
  void handed_on(Stream& stream, std::size_t bytes);
  /// Our direction has ended. Both ends make it forget the stream.
  void end(Stream& stream);
  void forget_if_over(Stream& stream);
  void refuse(Stream& stream, std::string_view why);
  void reset(Stream& stream, std::string_view why = {});
  /// To be called when it may have got something to send, or credit.
  void queue(Stream& stream);
  /// begin() is to be called again in some milliseconds.
  void again_soon(const Stream& stream) { again_.push_back(stream.id); }
  std::uint32_t host_window() const { return host_window_; }
  /// As much as the host takes: it knows how far away it is.
  std::uint32_t own_window() const { return host_window_; }
  Arrivals& arrivals() { return arrivals_; }
  KeptSockets& kept_sockets() { return kept_sockets_; }

  void ready(std::uint32_t events) override;

 private:
  static constexpr std::size_t in_size = 128 * 1024;

  void take_in();
  void take_frames();
  void take(const Frame& frame);
  void begin(const Hello& hello);
  void open(std::uint32_t id, std::string_view what);
  void break_session(const char* why);
  void end_session();
  void drop_streams();
  void forget(Stream& stream);
  void lose_host();
  void serve();
  void flush();
  void try_again();

  Loop loop_, link_loop_;
  MakeStream make_;
  std::string words_;
  int in_ = -1, out_fd_ = -1;
  FrameDecoder decoder_;
  int protocol_ = 0;  ///< of the host's hello; 0 = none has come
  std::uint32_t host_window_ = usual_window;
  std::unordered_map<std::uint32_t, std::unique_ptr<Stream>> streams_;
  std::vector<std::unique_ptr<Stream>> over_;
  std::deque<std::uint32_t> senders_;
  std::vector<std::uint32_t> again_;
  Arrivals arrivals_;
  KeptSockets kept_sockets_;
  std::uint32_t last_id_ = 0;
  std::unique_ptr<char[]> input_;
  std::size_t input_begin_ = 0, input_end_ = 0;
  OutBuffer out_;
  bool comes_back_ = false, ended_ = false;
  bool readable_ = false, writable_ = false;  ///< the connection, as far as is known
  bool paused_ = false;
};

}  // namespace cl::agent
