#include "provision/channel/agent.hpp"

#include <algorithm>
#include <optional>
#include <random>
#include <utility>

#include "provision/channel/agent_listener.hpp"
#include "provision/channel/unread.hpp"
#include "src/base/log.hpp"

namespace cl {

using agent::Kind;

namespace {

/// So that the agent's answer of an earlier session is not taken for this one's.
std::string fresh_nonce() {
  std::random_device random;
  std::string nonce;
  for (int i = 0; i < 32; ++i) nonce += "0123456789abcdef"[random() & 15];
  return nonce;
}

}  // namespace

struct Agent::Stream {
  Stream(const asio::any_io_executor& executor, std::uint32_t number, const agent::Hello& ours,
         const agent::Hello& theirs)
      : id(number), credit(theirs.window), window(ours.window), readable(executor), writable(executor) {}

  const std::uint32_t id;
  agent::Credit credit;
  agent::Window window;
  Unread unread;
  std::deque<std::string> messages;      // of a service
  DatagramFlow::OnDatagram on_datagram;  // of a flow
  std::span<char> wanted;                // of the caller inside read(), who waits
  std::size_t delivered = 0;             // so much has come for them
  std::span<const char> to_send;         // of the caller inside write(), likewise
  bool is_message = false;               // to_send goes in one frame
  bool by_messages = false;              // a frame is a message
  bool accepted = false;
  bool queued = false;  // in senders_
  bool ended = false;   // by us
  bool peer_ended = false;
  bool broken = false;  // reset, or the transport is lost; what has come can still be read
  bool closed = false;  // by its owner
  std::string reason;   // why it is broken
  Notifier readable, writable;
};

class AgentStream final : public ByteStream {
 public:
  AgentStream(std::shared_ptr<Agent> agent, Agent::StreamPtr stream)
      : agent_(std::move(agent)), stream_(std::move(stream)) {}
  AgentStream(const AgentStream&) = delete;
  AgentStream& operator=(const AgentStream&) = delete;
  ~AgentStream() override { close(); }

  asio::awaitable<std::size_t> read_some(std::span<char> space) override { return agent_->read(stream_, space); }
  asio::awaitable<void> write(std::span<const char> bytes) override { return agent_->write(stream_, bytes); }
  asio::awaitable<void> shutdown_write() override {
    agent_->end_writing(stream_);
    co_return;
  }
  void close() noexcept override { agent_->release(stream_); }

 private:
  std::shared_ptr<Agent> agent_;
  Agent::StreamPtr stream_;
};

class AgentMessages final : public MessageStream {
 public:
  AgentMessages(std::shared_ptr<Agent> agent, Agent::StreamPtr stream)
      : agent_(std::move(agent)), stream_(std::move(stream)) {}
  AgentMessages(const AgentMessages&) = delete;
  AgentMessages& operator=(const AgentMessages&) = delete;
  ~AgentMessages() override { agent_->release(stream_); }

  asio::awaitable<std::optional<std::string>> read() override { return agent_->read_message(stream_); }
  asio::awaitable<void> write(std::string_view message) override { return agent_->write_message(stream_, message); }

 private:
  std::shared_ptr<Agent> agent_;
  Agent::StreamPtr stream_;
};

class AgentFlow final : public DatagramFlow {
 public:
  AgentFlow(std::shared_ptr<Agent> agent, Agent::StreamPtr stream)
      : agent_(std::move(agent)), stream_(std::move(stream)) {}
  AgentFlow(const AgentFlow&) = delete;
  AgentFlow& operator=(const AgentFlow&) = delete;
  ~AgentFlow() override { agent_->release(stream_); }

  bool send(std::string_view datagram) override { return agent_->send_datagram(*stream_, datagram); }
  bool usable() const noexcept override { return agent_->usable() && !stream_->broken; }

 private:
  std::shared_ptr<Agent> agent_;
  Agent::StreamPtr stream_;
};

Agent::Agent(const asio::any_io_executor& executor, Transport transport, std::string build, std::uint32_t window)
    : executor_(executor),
      wire_(executor, std::move(transport)),
      answered_(executor),
      lost_(executor),
      changed_(executor) {
  ours_.nonce = fresh_nonce();
  ours_.build = build.empty() ? "-" : std::move(build);
  ours_.window = window;
}

std::shared_ptr<Agent> Agent::start(const asio::any_io_executor& executor, Transport transport, std::string build,
                                    std::uint32_t window) {
  auto made = std::make_shared<Agent>(executor, std::move(transport), std::move(build), window);
  std::string hello;
  agent::append_hello(hello, made->ours_);
  made->wire_.put(hello.data(), hello.size());
  made->schedule();
  made->receive();
  return made;
}

asio::awaitable<void> Agent::wait_up() {
  auto self = shared_from_this();
  co_await answered_.wait();
  if (up_) co_return;
  if (hello_.protocol != agent::protocol && !hello_.nonce.empty())
    throw Error(Errc::protocol, "the agent in the guest speaks protocol " + std::to_string(hello_.protocol));
  throw Error(Errc::io, "the agent in the guest did not answer").because(reason_);
}

asio::awaitable<void> Agent::lost() {
  auto self = shared_from_this();
  co_await lost_.wait();
}

void Agent::stop(const std::string& reason) noexcept {
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

asio::awaitable<void> Agent::end_if_silent(std::chrono::milliseconds limit) {
  const auto self = shared_from_this();
  if (!usable()) co_return;
  std::string trouble;
  try {
    co_await with_timeout(limit, "the answer of the agent", open_service("echo"));
  } catch (const Error& error) {
    if (error.code() == Errc::timed_out) trouble = one_line(error);
  }
  if (!trouble.empty() && usable()) stop(trouble);
}

// ---- streams ----------------------------------------------------------------------------------------------------

Agent::StreamPtr Agent::begin(const std::string& what) {
  const StreamPtr stream = std::make_shared<Stream>(executor_, next_id_, ours_, hello_);
  next_id_ += 2;
  streams_.emplace(stream->id, stream);
  tell(Kind::open, stream->id, what);
  return stream;
}

/// Waits for the agent's answer, though bytes could follow at once: whoever opens a stream wants to know whether
/// somebody listens there while nothing is lost yet.
asio::awaitable<void> Agent::wait_accepted(StreamPtr stream, std::string what) {
  while (!stream->accepted && !stream->broken) co_await stream->readable.wait();
  if (!stream->accepted) throw Error(Errc::guest_failed, std::move(what)).because(stream->reason);
}

asio::awaitable<std::unique_ptr<ByteStream>> Agent::open(std::string service, std::string refused) {
  auto self = shared_from_this();
  if (!up_ || ended_) throw Error(Errc::guest_failed, refused).because("the session with its agent is lost");
  if (service.size() > agent::most_text) throw Error(Errc::guest_failed, refused).because("its name is too long");
  const StreamPtr stream = begin(service);
  auto handle = std::make_unique<AgentStream>(self, stream);  // which gives the stream up if the wait is cut short
  co_await wait_accepted(stream, refused);
  co_return handle;
}

asio::awaitable<std::unique_ptr<ByteStream>> Agent::open_unix(std::string path) {
  std::string refused = "cannot connect to " + path + " in the guest";
  return open("unix " + path, std::move(refused));
}

std::unique_ptr<ByteStream> Agent::open_unix_at_once(const std::string& path) {
  const std::string refused = "cannot connect to " + path + " in the guest";
  if (!up_ || ended_) throw Error(Errc::guest_failed, refused).because("the session with its agent is lost");
  return std::make_unique<AgentStream>(shared_from_this(), begin("unix " + path));
}

asio::awaitable<std::unique_ptr<ByteStream>> Agent::open_tcp(std::string address, std::uint16_t port) {
  const std::string number = std::to_string(port);
  return open("tcp " + address + " " + number, "cannot connect to " + address + " port " + number + " in the guest");
}

asio::awaitable<std::unique_ptr<GuestListener>> Agent::listen(std::string where) {
  auto self = shared_from_this();
  const std::string refused = "the guest cannot listen at " + where;
  if (!up_ || ended_) throw Error(Errc::guest_failed, refused).because("the session with its agent is lost");
  if (where.size() > agent::most_text - 16) throw Error(Errc::guest_failed, refused).because("its name is too long");
  const StreamPtr stream = begin("listen " + where);
  stream->by_messages = true;
  auto arrivals = std::make_unique<AgentMessages>(self, stream);
  co_await wait_accepted(stream, refused);
  co_return std::make_unique<AgentListener>(self, std::move(arrivals));
}

asio::awaitable<std::unique_ptr<MessageStream>> Agent::open_service(std::string what) {
  auto self = shared_from_this();
  const std::string refused = "the agent in the guest does not serve " + what.substr(0, what.find(' '));
  if (!up_ || ended_) throw Error(Errc::guest_failed, refused).because("the session with it is lost");
  if (what.size() > agent::most_text) throw Error(Errc::internal, refused).because("its arguments are too long");
  const StreamPtr stream = begin(what);
  stream->by_messages = true;
  auto handle = std::make_unique<AgentMessages>(self, stream);
  co_await wait_accepted(stream, refused);
  co_return handle;
}

std::unique_ptr<DatagramFlow> Agent::open_udp(const std::string& address, std::uint16_t port,
                                              DatagramFlow::OnDatagram on_datagram) {
  if (!up_ || ended_) return nullptr;
  const StreamPtr stream = begin("udp " + address + " " + std::to_string(port));
  stream->by_messages = true;
  stream->on_datagram = std::move(on_datagram);
  return std::make_unique<AgentFlow>(shared_from_this(), stream);
}

void Agent::check(const Stream& stream) const {
  if (stream.closed) throw Error(Errc::io, "the stream was closed");
  if (stream.broken) throw Error(Errc::io, "the connection in the guest broke").because(stream.reason);
}

asio::awaitable<std::size_t> Agent::read(StreamPtr stream, std::span<char> space) {
  auto self = shared_from_this();
  if (stream->closed) check(*stream);
  if (space.empty()) co_return 0;
  std::size_t got = stream->unread.take(space);
  if (got == 0) {
    struct Wanting {
      Stream& stream;
      Wanting(Stream& of, std::span<char> into) : stream(of) {
        stream.wanted = into;
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
    handed_on(*stream, got);
    co_return got;
  }
  if (stream->closed || !stream->peer_ended) check(*stream);
  co_return 0;
}

asio::awaitable<std::optional<std::string>> Agent::read_message(StreamPtr stream) {
  auto self = shared_from_this();
  while (stream->messages.empty() && !stream->peer_ended && !stream->broken) co_await stream->readable.wait();
  if (stream->messages.empty()) {
    if (!stream->peer_ended) check(*stream);
    co_return std::nullopt;
  }
  std::string message = std::move(stream->messages.front());
  stream->messages.pop_front();
  handed_on(*stream, message.size());
  co_return message;
}

asio::awaitable<void> Agent::write(StreamPtr stream, std::span<const char> bytes) {
  auto self = shared_from_this();
  check(*stream);
  if (bytes.empty()) co_return;
  struct Sending {
    Agent& agent;
    StreamPtr stream;
    Sending(Agent& of, StreamPtr one, std::span<const char> what) : agent(of), stream(std::move(one)) {
      stream->to_send = what;
    }
    Sending(const Sending&) = delete;
    Sending& operator=(const Sending&) = delete;
    ~Sending() {
      stream->to_send = {};
      if (stream->queued) std::erase(agent.senders_, stream);
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

asio::awaitable<void> Agent::write_message(StreamPtr stream, std::string_view message) {
  auto self = shared_from_this();
  if (message.size() > agent::most_data) throw Error(Errc::internal, "a message for the guest's agent is too long");
  check(*stream);
  while (stream->credit.payload() < message.size()) {
    co_await stream->writable.wait();
    check(*stream);
  }
  stream->credit.spend(message.size());
  tell(Kind::data, stream->id, message);
}

bool Agent::send_datagram(Stream& stream, std::string_view datagram) {
  if (stream.broken || stream.credit.payload() < datagram.size()) return false;
  stream.credit.spend(datagram.size());
  tell(Kind::data, stream.id, datagram);
  return true;
}

void Agent::end_writing(const StreamPtr& stream) {
  check(*stream);
  if (std::exchange(stream->ended, true)) return;
  tell(Kind::end, stream->id);
  forget_if_over(stream);
}

void Agent::release(const StreamPtr& stream) noexcept {
  if (std::exchange(stream->closed, true)) return;
  stream->on_datagram = nullptr;
  if (streams_.erase(stream->id) > 0 && !ended_) tell(Kind::reset, stream->id);
  stream->readable.notify_all();
  stream->writable.notify_all();
}

void Agent::forget_if_over(const StreamPtr& stream) {
  if (stream->ended && stream->peer_ended) streams_.erase(stream->id);
}

// ---- sending ----------------------------------------------------------------------------------------------------

void Agent::put(Kind kind, std::uint32_t stream, std::string_view payload) {
  char header[agent::header_size];
  agent::put_header(header, kind, stream, payload.size());
  wire_.put(header, sizeof header);
  wire_.put(payload.data(), payload.size());
  wire_.put(&agent::last_byte, 1);
  schedule();
}

void Agent::tell(Kind kind, std::uint32_t stream, std::string_view payload) {
  if (!pausing_) return put(kind, stream, payload);
  agent::append_frame(held_, kind, stream, payload);
}

/// To be called when it may have got something to send, or credit.
void Agent::queue(const StreamPtr& stream) {
  if (stream->queued || stream->to_send.empty() || stream->credit.payload() == 0) return;
  stream->queued = true;
  senders_.push_back(stream);
}

void Agent::serve() {
  while (!senders_.empty() && !pausing_ && !ended_ && wire_.pending() < out_limit) {
    const StreamPtr stream = std::move(senders_.front());
    senders_.pop_front();
    stream->queued = false;
    const std::size_t count = std::min({agent::most_data, stream->credit.payload(), stream->to_send.size()});
    put(Kind::data, stream->id, {stream->to_send.data(), count});
    stream->credit.spend(count);
    stream->to_send = stream->to_send.subspan(count);
    if (stream->to_send.empty()) stream->writable.notify_all();
    queue(stream);
  }
}

void Agent::handed_on(Stream& stream, std::size_t count) {
  const std::uint32_t credit = stream.window.hand_on(count);
  if (credit == 0 || stream.peer_ended || stream.broken || stream.closed) return;
  tell(Kind::credit, stream.id, agent::credit_payload(credit));
}

/// Collects what is told in one go into one send.
void Agent::schedule() {
  if (scheduled_ || ended_) return;
  scheduled_ = true;
  asio::post(executor_, [self = shared_from_this()] {
    self->scheduled_ = false;
    self->send();
  });
}

void Agent::send() {
  for (;;) {
    serve();
    if (ended_ || quiesced_ || waiting_writable_ || wire_.pending() == 0) return;
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

void Agent::receive() {
  wire_.receive([self = shared_from_this()](error_code ec) { self->on_received(ec); });
}

void Agent::on_received(error_code ec) {
  if (ended_) return;
  try {
    take_in();
  } catch (const Error& error) {
    return stop(one_line(error));
  }
  if (ended_) return;
  send();
  if (ended_) return;
  if (ec && quiesced_) {
    attached_ = false;
    wire_.close();
    return changed_.notify_all();
  }
  if (ec) return stop(ec == asio::error::eof ? "the guest closed it" : ec.message());
  receive();
}

void Agent::take_in() {
  std::string_view bytes = wire_.unread();
  const std::size_t had = bytes.size();
  agent::Frame frame;
  while (!ended_) {
    const auto result = decoder_.next(bytes, frame);
    if (result == agent::FrameDecoder::Result::broken)
      throw Error(Errc::protocol, "the agent speaks nonsense").because(decoder_.why());
    if (result == agent::FrameDecoder::Result::more) break;
    if (!up_) {
      on_hello(frame.payload);
    } else {
      on_frame(frame);
    }
  }
  wire_.skip(had - bytes.size());
  if (decoder_.passed() > most_stale) throw Error(Errc::protocol, "the guest sends without an end, and no hello");
}

void Agent::on_hello(std::string_view payload) {
  auto hello = agent::read_hello(payload);
  if (!hello || hello->nonce != ours_.nonce) return decoder_.seek();  // of an earlier session
  hello_ = std::move(*hello);
  if (hello_.protocol != agent::protocol) return stop("it speaks protocol " + std::to_string(hello_.protocol));
  up_ = true;
  answered_.set();
}

void Agent::on_frame(const agent::Frame& frame) {
  auto nonsense = [](const char* why) { return Error(Errc::protocol, "the agent speaks nonsense").because(why); };
  switch (frame.kind) {
    case Kind::paused:
      if (!pausing_) throw nonsense("it pauses unasked");
      quiesced_ = true;
      return changed_.notify_all();
    case Kind::unknown: return;
    case Kind::hello:
    case Kind::open:
    case Kind::pause:
    case Kind::go_on: throw nonsense("only the host may say that");
    default: break;
  }
  if (!agent::is_known(frame.kind)) {
    const char kind = static_cast<char>(frame.kind);
    return tell(Kind::unknown, frame.stream, {&kind, 1});
  }
  if (frame.stream % 2 == 0 || frame.stream >= next_id_) throw nonsense("nobody has opened that stream");
  const auto found = streams_.find(frame.stream);
  if (found == streams_.end()) return;  // it is over here, which the agent did not know yet
  const StreamPtr stream = found->second;
  switch (frame.kind) {
    case Kind::accepted: stream->accepted = true; break;
    case Kind::refused:
    case Kind::reset:
      stream->broken = true;
      stream->reason = frame.payload.empty() ? "it was reset" : std::string(frame.payload);
      streams_.erase(found);
      break;
    case Kind::data:
      if (stream->peer_ended) throw nonsense("it goes on after its end");
      if (!stream->window.receive(frame.payload.size())) throw nonsense("more data than there was credit for");
      return on_data(stream, frame.payload);
    case Kind::end:
      stream->peer_ended = true;
      forget_if_over(stream);
      break;
    case Kind::credit: {
      const auto more = agent::read_credit(frame.payload);
      if (!more || !stream->credit.add(*more)) throw nonsense("more credit than there was");
      if (stream->by_messages) stream->writable.notify_all();
      return queue(stream);
    }
    default: break;
  }
  stream->readable.notify_all();
  stream->writable.notify_all();
}

/// Directly to who waits for it, what there is room for.
void Agent::on_data(const StreamPtr& stream, std::string_view bytes) {
  if (stream->on_datagram) {
    handed_on(*stream, bytes.size());
    return stream->on_datagram(bytes);
  }
  if (stream->by_messages) {
    stream->messages.emplace_back(bytes);
    return stream->readable.notify_all();
  }
  std::size_t count = 0;
  if (!stream->wanted.empty() && stream->unread.size() == 0)
    count = std::min(stream->wanted.size() - stream->delivered, bytes.size());
  if (count > 0) {
    std::memcpy(stream->wanted.data() + stream->delivered, bytes.data(), count);
    stream->delivered += count;
    stream->readable.notify_all();
  }
  if (count < bytes.size()) stream->unread.append(bytes.substr(count));
}

// ---- another transport ------------------------------------------------------------------------------------------

asio::awaitable<void> Agent::quiesce() {
  auto self = shared_from_this();
  if (!usable()) throw Error(Errc::io, "the session with the guest's agent does not stand");
  tell(Kind::pause, 0);
  pausing_ = true;
  while (!quiesced_ && !ended_) co_await changed_.wait();
  if (ended_) throw Error(Errc::io, "the session with the guest's agent is lost").because(reason_);
}

asio::awaitable<void> Agent::detached() {
  auto self = shared_from_this();
  while (attached_ && !ended_) co_await changed_.wait();
}

void Agent::reattach(Transport transport) {
  if (ended_) return;
  wire_.replace(std::move(transport));
  attached_ = true;
  receive();
}

void Agent::resume() {
  if (ended_ || !pausing_) return;
  if (!attached_ || !quiesced_) return stop("the machine went on without it");
  pausing_ = quiesced_ = false;
  tell(Kind::go_on, 0);
  const std::string held = std::exchange(held_, {});
  wire_.put(held.data(), held.size());
  send();  // also for those that have got credit or something to send meanwhile
}

}  // namespace cl
