#include "provision/ssh/pump.hpp"

#include <libssh2.h>

#include <algorithm>
#include <boost/asio/append.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <utility>

namespace cl::ssh {
namespace {

constexpr std::size_t most_before_banner = 16 << 20;  // an earlier server's rest may be as much as a window or two

}  // namespace

/// In front of what libssh2 gets, which has to be aligned as malloc() aligns. All of a session's are in one list.
struct alignas(std::max_align_t) Pump::Block {
  Block *before, *after;
  std::size_t size;
};

/// What libssh2 calls instead of send(), recv() and malloc().
struct Pump::Callbacks {
  static void link(Pump& pump, Block* block) {
    block->before = nullptr;
    block->after = pump.blocks_;
    if (block->after != nullptr) block->after->before = block;
    pump.blocks_ = block;
  }
  static void unlink(Pump& pump, Block* block) {
    if (block->after != nullptr) block->after->before = block->before;
    (block->before != nullptr ? block->before->after : pump.blocks_) = block->after;
  }
  static void* allocate(std::size_t size, void** abstract) { return reallocate(nullptr, size, abstract); }
  static void* reallocate(void* pointer, std::size_t size, void** abstract) {
    Pump& pump = *static_cast<Pump*>(*abstract);
    Block* const old = pointer == nullptr ? nullptr : static_cast<Block*>(pointer) - 1;
    const std::size_t had = old == nullptr ? 0 : old->size;
    if (size > had && pump.memory_ + (size - had) > pump.memory_limit()) {
      pump.past_memory_ = true;
      return nullptr;
    }
    if (old != nullptr) unlink(pump, old);
    auto* const block = static_cast<Block*>(std::realloc(old, sizeof(Block) + size));
    if (block == nullptr) {
      if (old != nullptr) link(pump, old);
      return nullptr;
    }
    link(pump, block);
    block->size = size;
    pump.memory_ += size;
    pump.memory_ -= had;
    return block + 1;
  }
  static void release(void* pointer, void** abstract) {
    if (pointer == nullptr) return;
    Pump& pump = *static_cast<Pump*>(*abstract);
    Block* const block = static_cast<Block*>(pointer) - 1;
    unlink(pump, block);
    pump.memory_ -= block->size;
    std::free(block);
  }
  static ssize_t send(libssh2_socket_t, const void* bytes, std::size_t size, int, void** abstract) {
    Pump& pump = *static_cast<Pump*>(*abstract);
    if (!pump.ended_) pump.wire_.put(static_cast<const char*>(bytes), size);
    return static_cast<ssize_t>(size);
  }
  static ssize_t receive(libssh2_socket_t, void* space, std::size_t size, int, void** abstract) {
    Pump& pump = *static_cast<Pump*>(*abstract);
    if (pump.refuse_reads_) return -ECONNRESET;
    const std::size_t count = pump.wire_.take(static_cast<char*>(space), size);
    return count > 0 ? static_cast<ssize_t>(count) : -EAGAIN;
  }
  static void install(Session* session) {
#if LIBSSH2_VERSION_NUM >= 0x010b01
    libssh2_session_callback_set2(session, LIBSSH2_CALLBACK_SEND, reinterpret_cast<libssh2_cb_generic*>(&send));
    libssh2_session_callback_set2(session, LIBSSH2_CALLBACK_RECV, reinterpret_cast<libssh2_cb_generic*>(&receive));
#else
    libssh2_session_callback_set(session, LIBSSH2_CALLBACK_SEND, reinterpret_cast<void*>(&send));
    libssh2_session_callback_set(session, LIBSSH2_CALLBACK_RECV, reinterpret_cast<void*>(&receive));
#endif
  }
};

/// Holds an opened channel until its caller takes it; releases it when nobody does.
struct Pump::Opening {
  explicit Opening(Pump& p, std::string t, std::string m) : pump(p), type(std::move(t)), message(std::move(m)) {}
  Opening(const Opening&) = delete;
  Opening& operator=(const Opening&) = delete;
  ~Opening() {
    if (opened.channel != nullptr) pump.release(opened.channel);
  }
  Pump& pump;  // outlives this: the caller and the queue both belong to it
  std::string type, message;
  Opened opened;
  bool own = false;
};

void Pump::prepare() {
  static const int library = libssh2_init(0);
  if (library != 0) throw Error(Errc::internal, "libssh2 cannot be initialised");
}

Pump::Pump(const asio::any_io_executor& executor, Transport transport)
    : executor_(executor),
      wire_(executor, std::move(transport)),
      banner_(executor),
      lost_(executor),
      detached_(executor) {
  prepare();
  session_ = libssh2_session_init_ex(&Callbacks::allocate, &Callbacks::release, &Callbacks::reallocate, this);
  if (session_ == nullptr) throw Error(Errc::internal, "libssh2 cannot make a session");
  Callbacks::install(session_);
  libssh2_session_set_blocking(session_, 0);
}

Pump::~Pump() {
  stop();
  refuse_reads_ = true;
  openings_.clear();
  if (!broken_) {
    libssh2_session_free(session_);
    return;
  }
  // What its cipher has of OpenSSL is lost, some KiB.
  while (Block* const block = blocks_) {
    blocks_ = block->after;
    std::free(block);
  }
}

std::shared_ptr<Pump> Pump::start(const asio::any_io_executor& executor, Transport transport) {
  auto pump = std::make_shared<Pump>(executor, std::move(transport));
  pump->receive();
  return pump;
}

// ---- callers ----------------------------------------------------------------------------------------------------

asio::awaitable<void> Pump::wait_banner() {
  auto self = shared_from_this();
  co_await banner_.wait();
  if (banner_seen_) co_return;
  if (banner_finder_.dropped() > most_before_banner)
    throw Error(Errc::protocol, "what answers there is not an SSH server").because("it never named its version");
  throw lost_error("the connection ended before the SSH server answered");
}

asio::awaitable<int> Pump::perform(Handle* channel, std::function<int()> attempt) {
  auto self = shared_from_this();
  if (ended_) throw lost_error("the connection to the guest is lost");
  const int now = attempt();
  schedule();
  if (now != LIBSSH2_ERROR_EAGAIN) co_return now;
  Op op;
  op.channel = channel;
  op.attempt = std::move(attempt);
  co_return static_cast<int>(co_await wait_for(requests_, std::move(op)));
}

asio::awaitable<Pump::Opened> Pump::open(std::string type, std::string message) {
  auto self = shared_from_this();
  if (ended_) throw lost_error("the connection to the guest is lost");
  auto opening = std::make_shared<Opening>(*this, std::move(type), std::move(message));
  Op op;
  op.opening = opening;
  schedule();
  co_await wait_for(openings_, std::move(op));
  co_return std::exchange(opening->opened, {});
}

void Pump::start_channels() {
  Op op;
  op.opening = std::make_shared<Opening>(*this, "session", "");
  op.opening->own = true;
  openings_.push_back(std::move(op));
  schedule();
}

asio::awaitable<std::size_t> Pump::read(Handle* channel, int stream, std::span<char> space) {
  auto self = shared_from_this();
  if (space.empty()) co_return 0;
  long got = try_read(channel, stream, space.data(), space.size());
  // A window adjustment, which comes also, and above all, when there is nothing to read: the peer may wait for it.
  if (wire_.pending() > 0) schedule();
  if (got == LIBSSH2_ERROR_EAGAIN) {
    if (ended_) throw lost_error("the connection to the guest is lost");
    Op op;
    op.channel = channel;
    op.stream = stream;
    op.data = space.data();
    op.size = space.size();
    got = co_await wait_for(readers_, std::move(op));
  }
  if (got < 0) throw Error(Errc::io, "cannot read from the guest").because("SSH error " + std::to_string(got));
  co_return static_cast<std::size_t>(got);
}

asio::awaitable<void> Pump::write(Handle* channel, std::span<const char> bytes) {
  auto self = shared_from_this();
  long result = 0;
  while (!bytes.empty()) {
    if (ended_) throw lost_error("the connection to the guest is lost");
    // With the buffer full a turn is due anyway, and those who already wait come first in it.
    result = LIBSSH2_ERROR_EAGAIN;
    if (wire_.pending() < out_limit) result = try_write(channel, bytes.data(), bytes.size());
    if (result < 0) break;
    bytes = bytes.subspan(static_cast<std::size_t>(result));
    schedule();
  }
  if (result == LIBSSH2_ERROR_EAGAIN) {
    if (wire_.pending() >= out_limit) cut_short_ = true;  // it waits for room in the buffer, not for the peer
    Op op;
    op.channel = channel;
    op.data = const_cast<char*>(bytes.data());  // only read
    op.size = bytes.size();
    result = co_await wait_for(writers_, std::move(op));
  }
  if (result == LIBSSH2_ERROR_CHANNEL_CLOSED) throw Error(Errc::io, "the guest's side of the connection is closed");
  if (result < 0) throw Error(Errc::io, "cannot write to the guest").because("SSH error " + std::to_string(result));
}

bool Pump::closed_by_peer(Handle* channel) noexcept { return libssh2_channel_wait_closed(channel) == 0; }

void Pump::release(Handle* channel) noexcept {
  for (Ops* queue : {&requests_, &readers_, &writers_}) fail_all(*queue, channel, asio::error::operation_aborted);
  if (ended_) {
    refuse_reads_ = true;  // nobody will answer: free it without waiting
    if (!broken_) {
      [[maybe_unused]] const int freed = libssh2_channel_free(channel);
    }
    refuse_reads_ = false;
    --channels_;
    return;
  }
  auto free = [this, channel] {
    const int rc = libssh2_channel_free(channel);
    if (rc != LIBSSH2_ERROR_EAGAIN) --channels_;
    return rc;
  };
  if (free() == LIBSSH2_ERROR_EAGAIN) {
    Op op;
    op.attempt = free;
    requests_.push_back(std::move(op));
  }
  schedule();
}

void Pump::stop() noexcept {
  if (ended_) return;
  if (own_channel_ != nullptr) {
    // The server then ends at once instead of finding out; it may sit on the far end of a port that is never "closed".
    [[maybe_unused]] const int sent =  // it ends here in any case
        libssh2_session_disconnect_ex(session_, SSH_DISCONNECT_BY_APPLICATION, "", "");
    [[maybe_unused]] const error_code unsent = wire_.flush();
  }
  end("it was closed on our side");
}

asio::awaitable<void> Pump::lost() {
  auto self = shared_from_this();
  co_await lost_.wait();
}

// ---- another transport ------------------------------------------------------------------------------------------

asio::awaitable<void> Pump::quiesce() {
  auto self = shared_from_this();
  if (ended_) throw lost_error("the connection to the guest is lost");
  quiesced_ = true;
  // Nobody tells when the peer has read; it is a matter of microseconds, and of seconds on a host that is overloaded.
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  for (;;) {
    if (ended_) throw lost_error("the connection to the guest is lost");
    if (!attached_ || wire_.undelivered() == 0) co_return;
    if (std::chrono::steady_clock::now() > deadline) break;
    co_await sleep_for(std::chrono::milliseconds(1));
  }
  resume();
  throw Error(Errc::timed_out, "the guest's side of the connection does not read");
}

asio::awaitable<void> Pump::detached() {
  auto self = shared_from_this();
  while (attached_ && !ended_) co_await detached_.wait();
}

void Pump::reattach(Transport transport) {
  if (ended_) return;
  wire_.replace(std::move(transport));
  attached_ = true;
  receive();
}

void Pump::resume() {
  quiesced_ = false;
  if (!attached_) return end("the guest closed it");
  turn();
}

// ---- waiting ----------------------------------------------------------------------------------------------------

asio::awaitable<long> Pump::wait_for(Ops& queue, Op op) {
  auto initiate = [this, &queue](auto handler, Op pending) {
    pending.done = std::move(handler);
    const auto place = queue.insert(queue.end(), std::move(pending));
    auto slot = asio::get_associated_cancellation_slot(place->done);  // not the handler's own, which `done` now uses
    if (slot.is_connected()) slot.assign([this, &queue, place](asio::cancellation_type) { cancel(queue, place); });
  };
  auto [ec, result] =
      co_await asio::async_initiate<decltype(no_throw), void(error_code, long)>(initiate, no_throw, std::move(op));
  if (ec == asio::error::connection_reset) throw lost_error("the connection to the guest is lost");
  const auto state = co_await asio::this_coro::cancellation_state;
  if (ec && state.cancelled() == asio::cancellation_type::none) throw Error(Errc::io, "the stream was closed");
  if (ec) throw boost::system::system_error(ec);
  co_return result;
}

/// Runs inside the cancellation slot's handler, which therefore must not be cleared here.
void Pump::cancel(Ops& queue, Ops::iterator op) {
  Done done = std::move(op->done);
  if (!done) return;
  // libssh2 remembers a begun opening in the session: it has to be brought to its end.
  const bool begun = &queue == &openings_ && op == queue.begin();
  if (!begun) queue.erase(op);
  asio::post(executor_, asio::append(std::move(done), error_code(asio::error::operation_aborted), 0L));
}

/// Never resumes the caller at once: it might come back into the middle of a pass.
void Pump::finish(Ops& queue, Ops::iterator op, error_code ec, long result) {
  Done done = std::move(op->done);
  queue.erase(op);
  if (!done) return;
  auto slot = asio::get_associated_cancellation_slot(done);
  if (slot.is_connected()) slot.clear();
  if (serving_) {
    ready_.push_back(Ready{std::move(done), ec, result});
  } else {
    asio::post(executor_, asio::append(std::move(done), ec, result));
  }
}

/// Lets those go on whose operations are done. What they submit at once is sent with the rest of this turn: a post for
/// each would cost a pass through the event loop, with its system calls.
void Pump::deliver() {
  while (!ready_.empty()) {
    std::vector<Ready> now;
    now.swap(ready_);
    for (Ready& one : now) std::move(one.done)(one.ec, one.result);
  }
}

void Pump::fail_all(Ops& queue, Handle* only, error_code ec) {
  for (auto op = queue.begin(); op != queue.end();) {
    const auto next = std::next(op);
    if (only == nullptr || op->channel == only) finish(queue, op, ec, 0);
    op = next;
  }
}

Error Pump::lost_error(const char* what) const { return Error(Errc::io, what).because(reason_); }

// ---- libssh2 ----------------------------------------------------------------------------------------------------

long Pump::try_read(Handle* channel, int stream, char* data, std::size_t size) noexcept {
  // 0 means the peer's end of data, for either stream, also while the other stream has unread bytes.
  return libssh2_channel_read_ex(channel, stream, data, std::min(size, read_limit));
}

long Pump::try_write(Handle* channel, const char* data, std::size_t size) noexcept {
  // The window of a closed channel would never open again.
  if (closed_by_peer(channel)) return LIBSSH2_ERROR_CHANNEL_CLOSED;
  const long sent = libssh2_channel_write_ex(channel, 0, data, size);
  return sent == 0 ? LIBSSH2_ERROR_EAGAIN : sent;
}

void Pump::serve_requests() {
  for (auto op = requests_.begin(); op != requests_.end();) {
    const auto next = std::next(op);
    const int result = op->attempt();
    if (result != LIBSSH2_ERROR_EAGAIN) finish(requests_, op, {}, result);
    op = next;
  }
}

void Pump::serve_openings() {
  while (!ended_ && !openings_.empty()) {
    auto op = openings_.begin();
    Opening& opening = *op->opening;
    opening.opened.channel =
        libssh2_channel_open_ex(session_, opening.type.data(), opening.type.size(), window,
                                LIBSSH2_CHANNEL_PACKET_DEFAULT, opening.message.data(), opening.message.size());
    if (opening.opened.channel == nullptr) {
      char* text = nullptr;
      if (libssh2_session_last_error(session_, &text, nullptr, 0) == LIBSSH2_ERROR_EAGAIN) return;
      opening.opened.reason = text;
    }
    if (opening.opened.channel != nullptr) ++channels_;
    if (opening.own) {
      own_channel_ = std::exchange(opening.opened.channel, nullptr);
      if (own_channel_ == nullptr) return end("the guest's SSH server gives no session: " + opening.opened.reason);
    }
    finish(openings_, op, {}, 0);
  }
}

/// Whether a result says that libssh2 cannot make sense of the connection. It must not be asked to go on then: it goes
/// on in the middle of a packet, and ends the whole program where that is not whole ("len % blocksize", transport.c).
bool Pump::breaks(long result) noexcept {
  switch (result) {
    case LIBSSH2_ERROR_DECRYPT:
    case LIBSSH2_ERROR_INVALID_MAC:
    case LIBSSH2_ERROR_KEX_FAILURE:
    case LIBSSH2_ERROR_OUT_OF_BOUNDARY:
    case LIBSSH2_ERROR_PROTO:
    case LIBSSH2_ERROR_SOCKET_DISCONNECT:
    case LIBSSH2_ERROR_SOCKET_RECV: break;
    default: return false;
  }
  broken_ = true;
  end("its bytes make no sense (SSH error " + std::to_string(result) + ")");
  return true;
}

void Pump::serve_readers() {
  for (auto op = readers_.begin(); op != readers_.end();) {
    const auto next = std::next(op);
    const long got = try_read(op->channel, op->stream, op->data, op->size);
    if (got != LIBSSH2_ERROR_EAGAIN) finish(readers_, op, {}, got);
    if (breaks(got)) return;
    op = next;
  }
}

/// One packet each, in turn, while the outgoing buffer has room.
void Pump::serve_writers() {
  std::size_t idle = 0;  // so many in a row could send nothing
  while (idle < writers_.size() && wire_.pending() < out_limit) {
    auto op = writers_.begin();
    const long sent = try_write(op->channel, op->data, op->size);
    if (sent == LIBSSH2_ERROR_EAGAIN) {
      ++idle;
    } else if (sent < 0) {
      finish(writers_, op, {}, sent);
      if (breaks(sent)) return;
      continue;
    } else {
      idle = 0;
      op->data += sent;
      op->size -= static_cast<std::size_t>(sent);
      if (op->size == 0) {
        finish(writers_, op, {}, 0);
        continue;
      }
    }
    writers_.splice(writers_.end(), writers_, op);
  }
  if (idle < writers_.size()) cut_short_ = true;
}

// ---- the pump ---------------------------------------------------------------------------------------------------

void Pump::receive() {
  if (ended_) return;
  wire_.receive([self = shared_from_this()](error_code ec) { self->on_received(ec); });
}

void Pump::on_received(error_code ec) {
  if (ended_) return;
  if (banner_seen_) {
    pass();
    turn();
  } else {
    look_for_banner();
  }
  if (ended_) return;
  if (ec && quiesced_) {
    attached_ = false;
    wire_.close();
    return detached_.notify_all();
  }
  if (ec) return end(ec == asio::error::eof ? "the guest closed it" : ec.message());
  // Only a session that never got as far as its own channel can leave bytes unread, and then only until its limit.
  if (!wire_.has_room()) return end("it sent more than anybody asked for");
  receive();
}

void Pump::look_for_banner() {
  const auto seen = banner_finder_.look(wire_.unread());
  wire_.skip(seen.drop);
  banner_seen_ = seen.found;
  if (banner_seen_) return banner_.set();
  if (banner_finder_.dropped() > most_before_banner) end("it sent no SSH version");
}

void Pump::end_past_limits() {
  if (past_memory_) return end("it sent more than was asked for");
  if (wire_.pending() > most_unsent) end("it asks and does not read the answers");
}

void Pump::pass() {
  serving_ = true;
  if (own_channel_ != nullptr) {
    // Reading nothing from it takes in everything that has come, for all channels. Its window never changes, so this
    // cannot get between a half-done call of another channel and its repetition, as reading from that one could.
    char nothing = 0;
    const long rc = libssh2_channel_read_ex(own_channel_, 0, &nothing, 0);
    if (rc < 0 && rc != LIBSSH2_ERROR_EAGAIN) {
      broken_ = !past_memory_;
      if (past_memory_) return end_past_limits();
      char* text = nullptr;
      libssh2_session_last_error(session_, &text, nullptr, 0);
      return end(std::string(text) + " (SSH error " + std::to_string(rc) + ")");
    }
  }
  end_past_limits();
  if (ended_) return;
  serve_openings();
  serve_requests();
  serve_readers();
}

/// Collects what is submitted in one go into one send.
void Pump::schedule() {
  if (scheduled_ || serving_ || ended_) return;
  scheduled_ = true;
  asio::post(executor_, [self = shared_from_this()] {
    self->scheduled_ = false;
    self->turn();
  });
}

/// The second half of every event.
void Pump::turn() {
  serving_ = true;
  if (wire_.pending() >= out_limit) flush();
  cut_short_ = false;
  if (!ended_) serve_writers();
  do {
    deliver();
    serve_openings();  // also of those who have just gone on
  } while (!ready_.empty());
  serving_ = false;
  flush();
  // Whoever waits only for room has it now, and nobody else would tell them.
  if (cut_short_ && !waiting_writable_) schedule();
}

void Pump::flush() {
  if (ended_ || quiesced_) return;
  const error_code ec = wire_.flush();
  if (!ec) return;
  if (ec != asio::error::would_block) return end(ec.message());
  if (waiting_writable_) return;
  waiting_writable_ = true;
  wire_.wait_writable([self = shared_from_this()](error_code failure) {
    self->waiting_writable_ = false;
    if (!failure) self->turn();
  });
}

void Pump::end(const std::string& reason) noexcept {
  if (ended_) return;
  ended_ = true;
  reason_ = reason;
  wire_.close();
  if (!broken_) serve_readers();  // what has come is still theirs
  for (Ops* queue : {&requests_, &openings_, &readers_, &writers_})
    fail_all(*queue, nullptr, asio::error::connection_reset);
  banner_.set();
  lost_.set();
  detached_.notify_all();
}

}  // namespace cl::ssh
