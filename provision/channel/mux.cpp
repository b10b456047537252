#include "provision/channel/mux.hpp"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

namespace cl::mux {
namespace {

/// Received bytes that nobody has read yet. An empty one costs nothing.
class Unread {
 public:
  std::size_t size() const noexcept { return bytes_.size() - begin_; }
  void append(std::string_view more) {
    if (begin_ > bytes_.size() / 2) {  // so that each byte is moved about once
      bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(begin_));
      begin_ = 0;
    }
    bytes_.insert(bytes_.end(), more.begin(), more.end());
  }
  std::size_t take(std::span<char> space) noexcept {
    const std::size_t count = std::min(space.size(), size());
    if (count > 0) std::memcpy(space.data(), bytes_.data() + begin_, count);
    begin_ += count;
    if (size() == 0) {
      std::vector<char>().swap(bytes_);
      begin_ = 0;
    }
    return count;
  }

 private:
  std::vector<char> bytes_;
  std::size_t begin_ = 0;
};

}  // namespace

struct Mux::Stream {
  Stream(const asio::any_io_executor& executor, std::uint32_t number)
      : id(number), readable(executor), writable(executor) {}

  const std::uint32_t id;
  Unread unread;
  std::span<char> wanted;         // of the caller inside read(), who waits
  std::size_t delivered = 0;      // so much has come for them
  std::span<const char> to_send;  // of the caller inside write(), likewise
  std::size_t credit = window;    // for sending
  std::size_t taken = 0;          // read by callers, and no credit given for it yet
  bool opened = false;
  bool queued = false;  // in senders_
  bool ended = false;   // by us: eof was sent
  bool peer_ended = false;
  bool broken = false;  // reset, or the transport is lost; what has come can still be read
  bool closed = false;  // by its owner
  std::string reason;   // why it is broken
  Notifier readable, writable;
};

class MuxStream final : public ByteStream {
 public:
  MuxStream(std::shared_ptr<Mux> mux, Mux::StreamPtr stream) : mux_(std::move(mux)), stream_(std::move(stream)) {}
  MuxStream(const MuxStream&) = delete;
  MuxStream& operator=(const MuxStream&) = delete;
  ~MuxStream() override { close(); }

  asio::awaitable<std::size_t> read_some(std::span<char> space) override { return mux_->read(stream_, space); }
  asio::awaitable<void> write(std::span<const char> bytes) override { return mux_->write(stream_, bytes); }
  asio::awaitable<void> shutdown_write() override {
    mux_->end_writing(stream_);
    co_return;
  }
  void close() noexcept override { mux_->release(stream_); }

 private:
  std::shared_ptr<Mux> mux_;
  Mux::StreamPtr stream_;
};

Mux::Mux(const asio::any_io_executor& executor, Transport transport, std::string nonce)
    : executor_(executor),
      wire_(executor, std::move(transport)),
      finder_(nonce),
      nonce_(std::move(nonce)),
      answered_(executor),
      lost_(executor),
      changed_(executor) {}

std::shared_ptr<Mux> Mux::start(const asio::any_io_executor& executor, Transport transport, std::string nonce) {
  auto mux = std::make_shared<Mux>(executor, std::move(transport), std::move(nonce));
  mux->receive();
  return mux;
}

asio::awaitable<void> Mux::wait_up() {
  auto self = shared_from_this();
  co_await answered_.wait();
  if (!up_) throw Error(Errc::io, "the data channel ended before the guest answered").because(reason_);
}

asio::awaitable<void> Mux::lost() {
  auto self = shared_from_this();
  co_await lost_.wait();
}

std::size_t Mux::unread() const noexcept {
  std::size_t sum = 0;
  for (const auto& [id, stream] : streams_) sum += stream->unread.size();
  return sum;
}

void Mux::stop(const std::string& reason) noexcept {
  if (ended_) return;
  ended_ = true;
  reason_ = reason;
  wire_.close();
  for (const auto& [id, stream] : std::exchange(streams_, {})) {
    stream->broken = true;
    stream->reason = reason;
    stream->readable.notify_all();
    stream->writable.notify_all();
  }
  senders_.clear();
  answered_.set();
  lost_.set();
  changed_.notify_all();
}

// ---- streams ----------------------------------------------------------------------------------------------------

asio::awaitable<std::unique_ptr<ByteStream>> Mux::open_unix(std::string path) {
  return open("unix " + path, "cannot connect to " + path + " in the guest");
}

asio::awaitable<std::unique_ptr<ByteStream>> Mux::open_tcp(std::string address, std::uint16_t port) {
  const std::string number = std::to_string(port);
  return open("tcp " + address + " " + number, "cannot connect to " + address + " port " + number + " in the guest");
}

/// Waits for the guest's answer, though bytes could follow at once: whoever opens a stream wants to know whether
/// somebody listens there while nothing is lost yet.
asio::awaitable<std::unique_ptr<ByteStream>> Mux::open(std::string where, std::string what) {
  auto self = shared_from_this();
  if (ended_) throw Error(Errc::guest_failed, "the data channel to the guest is lost").because(reason_);
  if (where.size() > longest_text) throw Error(Errc::guest_failed, what).because("the path is too long");
  const StreamPtr stream = std::make_shared<Stream>(executor_, ++last_id_);
  streams_.emplace(stream->id, stream);
  tell(stream->id, FrameType::open, where);
  auto handle = std::make_unique<MuxStream>(self, stream);  // which gives the stream up if the wait is cut short
  while (!stream->opened && !stream->broken) co_await stream->readable.wait();
  if (!stream->opened) throw Error(Errc::guest_failed, std::move(what)).because(stream->reason);
  co_return handle;
}

void Mux::check(const Stream& stream) const {
  if (stream.closed) throw Error(Errc::io, "the stream was closed");
  if (stream.broken) throw Error(Errc::io, "the connection in the guest broke").because(stream.reason);
}

asio::awaitable<std::size_t> Mux::read(StreamPtr stream, std::span<char> space) {
  auto self = shared_from_this();
  if (stream->closed) check(*stream);
  if (space.empty()) co_return 0;
  std::size_t got = stream->unread.take(space);
  if (got == 0) {
    struct Wanting {
      Stream& stream;
      Wanting(Stream& of, std::span<char> space) : stream(of) {
        stream.wanted = space;
        stream.delivered = 0;
      }
      Wanting(const Wanting&) = delete;
      Wanting& operator=(const Wanting&) = delete;
      ~Wanting() { stream.wanted = {}; }
    };
    const Wanting wanting(*stream, space);
    while (stream->delivered == 0 && !stream->peer_ended && !stream->broken && !stream->closed)
      co_await stream->readable.wait();
    got = stream->delivered;
  }
  if (got > 0) {
    give_credit(*stream, got);
    co_return got;
  }
  if (stream->closed || !stream->peer_ended) check(*stream);
  co_return 0;
}

asio::awaitable<void> Mux::write(StreamPtr stream, std::span<const char> bytes) {
  auto self = shared_from_this();
  check(*stream);
  if (bytes.empty()) co_return;
  struct Sending {
    Mux& mux;
    StreamPtr stream;
    Sending(Mux& of, StreamPtr one, std::span<const char> bytes) : mux(of), stream(std::move(one)) {
      stream->to_send = bytes;
    }
    Sending(const Sending&) = delete;
    Sending& operator=(const Sending&) = delete;
    ~Sending() {
      stream->to_send = {};
      if (stream->queued) std::erase(mux.senders_, stream);
      stream->queued = false;
    }
  };
  const Sending sending(*this, stream, bytes);
  queue(stream);
  serve();
  while (!stream->to_send.empty()) {
    co_await stream->writable.wait();
    check(*stream);
  }
}

void Mux::end_writing(const StreamPtr& stream) {
  check(*stream);
  if (std::exchange(stream->ended, true)) return;
  tell(stream->id, FrameType::eof);
  forget_if_ended(stream);
}

void Mux::release(const StreamPtr& stream) noexcept {
  if (std::exchange(stream->closed, true)) return;
  if (streams_.erase(stream->id) > 0 && !ended_) tell(stream->id, FrameType::reset);
  stream->readable.notify_all();
  stream->writable.notify_all();
}

void Mux::forget_if_ended(const StreamPtr& stream) {
  if (stream->ended && stream->peer_ended) streams_.erase(stream->id);
}

// ---- sending ----------------------------------------------------------------------------------------------------

void Mux::tell(std::uint32_t stream, FrameType type, std::string_view payload) {
  std::string frame;
  append_header(frame, stream, type, payload.size());
  frame += payload;
  if (pausing_) {
    held_ += frame;
    return;
  }
  wire_.put(frame.data(), frame.size());
  schedule();
}

/// To be called when it may have got something to send, or credit.
void Mux::queue(const StreamPtr& stream) {
  if (stream->queued || stream->to_send.empty() || stream->credit == 0) return;
  stream->queued = true;
  senders_.push_back(stream);
}

void Mux::serve() {
  while (!senders_.empty() && !pausing_ && !ended_ && wire_.pending() < out_limit) {
    const StreamPtr stream = std::move(senders_.front());
    senders_.pop_front();
    stream->queued = false;
    const std::size_t count = std::min({turn, stream->credit, stream->to_send.size()});
    std::string header;
    append_header(header, stream->id, FrameType::data, count);
    wire_.put(header.data(), header.size());
    wire_.put(stream->to_send.data(), count);
    stream->to_send = stream->to_send.subspan(count);
    stream->credit -= count;
    if (stream->to_send.empty()) stream->writable.notify_all();
    queue(stream);
    schedule();
  }
}

void Mux::give_credit(Stream& stream, std::size_t count) {
  stream.taken += count;
  if (stream.taken < window / 4 || stream.peer_ended || stream.broken || stream.closed) return;
  std::string number;
  append_number(number, static_cast<std::uint32_t>(std::exchange(stream.taken, 0)));
  tell(stream.id, FrameType::credit, number);
}

/// Collects what is told in one go into one send.
void Mux::schedule() {
  if (scheduled_ || ended_) return;
  scheduled_ = true;
  asio::post(executor_, [self = shared_from_this()] {
    self->scheduled_ = false;
    self->send();
  });
}

void Mux::send() {
  for (;;) {
    serve();
    if (ended_ || parked_ || waiting_writable_ || wire_.pending() == 0) return;
    const error_code ec = wire_.flush();
    if (!ec) continue;
    if (ec != asio::error::would_block) return stop(ec.message());
    waiting_writable_ = true;
    return wire_.wait_writable([self = shared_from_this()](error_code failure) {
      self->waiting_writable_ = false;
      if (!failure) self->send();
    });
  }
}

// ---- receiving --------------------------------------------------------------------------------------------------

void Mux::receive() {
  wire_.receive([self = shared_from_this()](error_code ec) { self->on_received(ec); });
}

void Mux::on_received(error_code ec) {
  if (ended_) return;
  const std::string_view bytes = wire_.unread();
  try {
    take_in(bytes);
  } catch (const Error& error) {
    return stop(one_line(error));
  }
  if (ended_) return;
  wire_.skip(bytes.size());
  send();
  if (ended_) return;
  if (ec && parked_) {
    plugged_in_ = false;
    wire_.close();
    return changed_.notify_all();
  }
  if (ec) return stop(ec == asio::error::eof ? "the guest closed it" : ec.message());
  receive();
}

void Mux::take_in(std::string_view bytes) {
  if (!up_) {
    if (!finder_.look(bytes)) {
      if (finder_.dropped() > most_stale) throw Error(Errc::protocol, "it sends without an end, and not its nonce");
      return;
    }
    up_ = true;
    wire_.put(nonce_.data(), nonce_.size());
    answered_.set();
  }
  while (const auto frame = decoder_.next(bytes)) on_frame(*frame);
}

void Mux::on_frame(const Frame& frame) {
  auto nonsense = [](const char* why) {
    return Error(Errc::protocol, "the data channel's other end speaks nonsense").because(why);
  };
  if (frame.type == FrameType::paused) {
    if (!pausing_) throw nonsense("it pauses unasked");
    parked_ = true;
    return changed_.notify_all();
  }
  if (frame.stream == 0 || frame.stream > last_id_) throw nonsense("nobody has opened that stream");
  const auto found = streams_.find(frame.stream);
  if (found == streams_.end()) return;  // it has ended here, which the guest did not know yet
  const StreamPtr stream = found->second;
  switch (frame.type) {
    case FrameType::opened: stream->opened = true; break;
    case FrameType::refused:
    case FrameType::reset:
      stream->broken = true;
      stream->reason = frame.payload.empty() ? "it was reset" : std::string(frame.payload);
      streams_.erase(found);
      break;
    case FrameType::data: return on_data(*stream, frame.payload);
    case FrameType::eof:
      stream->peer_ended = true;
      forget_if_ended(stream);
      break;
    case FrameType::credit: {
      const auto more = read_number(frame.payload);
      if (!more || *more > window - stream->credit) throw nonsense("it gives more credit than there was");
      stream->credit += *more;
      return queue(stream);
    }
    default: throw nonsense("only the host may say that");
  }
  stream->readable.notify_all();
  stream->writable.notify_all();
}

/// Directly to who waits for it, what there is room for.
void Mux::on_data(Stream& stream, std::string_view bytes) {
  if (stream.peer_ended || stream.unread.size() + bytes.size() > window)
    throw Error(Errc::protocol, "the data channel's other end sends more than it may");
  std::size_t count = 0;
  if (!stream.wanted.empty() && stream.unread.size() == 0)
    count = std::min(stream.wanted.size() - stream.delivered, bytes.size());
  if (count > 0) {
    std::memcpy(stream.wanted.data() + stream.delivered, bytes.data(), count);
    stream.delivered += count;
    stream.readable.notify_all();
  }
  if (count < bytes.size()) stream.unread.append(bytes.substr(count));
}

// ---- another transport ------------------------------------------------------------------------------------------

asio::awaitable<void> Mux::park() {
  auto self = shared_from_this();
  if (!usable()) throw Error(Errc::io, "the data channel does not stand");
  tell(0, FrameType::pause);
  pausing_ = true;
  while (!parked_ && !ended_) co_await changed_.wait();
  if (ended_) throw Error(Errc::io, "the data channel is lost").because(reason_);
}

asio::awaitable<void> Mux::unplugged() {
  auto self = shared_from_this();
  while (plugged_in_ && !ended_) co_await changed_.wait();
}

void Mux::plug(Transport transport) {
  if (ended_) return;
  wire_.replace(std::move(transport));
  plugged_in_ = true;
  receive();
}

void Mux::unpark() {
  if (ended_ || !pausing_) return;
  if (!plugged_in_ || !parked_) return stop("the machine went on without it");
  pausing_ = parked_ = false;
  tell(0, FrameType::resume);
  const std::string held = std::exchange(held_, {});
  wire_.put(held.data(), held.size());
  // Some have got credit or something to send meanwhile.
  send();
}

}  // namespace cl::mux
