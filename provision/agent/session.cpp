#include "provision/agent/session.hpp"

#include <sys/epoll.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "provision/agent/system.hpp"

namespace cl::agent {
namespace {

constexpr int reads_at_once = 64;  // a port gives a page at a time
constexpr int turns_at_once = 64;
constexpr std::size_t deaf_limit = 512 * 1024;  // nothing is read from a host that takes none of our answers
constexpr int try_again_after = 10;             // ms

}  // namespace

Stream::Stream(Session& session, std::uint32_t number)
    : id(number), credit(session.host_window()), window(session.own_window()), session_(session) {}

void Stream::take_end() {
  session_.end(*this);
  session_.forget_if_over(*this);
}

bool Session::attach(int in, int out, bool comes_back) {
  in_ = in;
  out_fd_ = out;
  comes_back_ = comes_back;
  ended_ = false;
  readable_ = writable_ = true;
  if (!input_) input_.reset(new char[in_size]);
  for (Loop* loop : {&loop_, &link_loop_}) {
    if (!loop->add(in, *this)) return false;
    if (out != in && !loop->add(out, *this)) return false;
  }
  if (comes_back) out_.put_raw(std::string(fresh_size, static_cast<char>(fresh)));
  return true;
}

void Session::detach() {
  lose_host();
  for (Loop* loop : {&loop_, &link_loop_}) {
    loop->remove(in_);
    if (out_fd_ != in_) loop->remove(out_fd_);
  }
  in_ = out_fd_ = -1;
  ended_ = false;
}

void Session::ready(std::uint32_t events) {
  if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) readable_ = true;
  if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) writable_ = true;
}

void Session::turn() {
  const bool busy = (readable_ && in_ >= 0 && out_.size() < deaf_limit) ||
                    (!paused_ && !senders_.empty() && (writable_ || out_.size() < out_limit));
  (paused_ ? link_loop_ : loop_).wait(busy ? 0 : again_.empty() || paused_ ? -1 : try_again_after);
  if (in_ >= 0) take_in();
  if (!paused_) {
    try_again();
    serve();
  }
  if (out_fd_ >= 0) flush();
  over_.clear();
}

// ---- from the host -----------------------------------------------------------------------------------------------

void Session::take_in() {
  for (int i = 0; i < reads_at_once && readable_ && !ended_ && out_.size() < deaf_limit; ++i) {
    if (input_begin_ > 0) {
      std::memmove(input_.get(), input_.get() + input_begin_, input_end_ - input_begin_);
      input_end_ -= input_begin_;
      input_begin_ = 0;
    }
    const ssize_t got = ::read(in_, input_.get() + input_end_, in_size - input_end_);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) {
      readable_ = false;
    } else if (got > 0) {
      input_end_ += static_cast<std::size_t>(got);
      take_frames();
    } else {
      readable_ = false;
      lose_host();
      ended_ = !comes_back_;
    }
  }
}

void Session::take_frames() {
  std::string_view bytes(input_.get() + input_begin_, input_end_ - input_begin_);
  for (Frame frame;;) {
    const auto result = decoder_.next(bytes, frame);
    if (result == FrameDecoder::Result::more) break;
    if (result == FrameDecoder::Result::broken) break_session(decoder_.why());
    if (result == FrameDecoder::Result::frame) take(frame);
  }
  input_begin_ = input_end_ - bytes.size();
}

void Session::take(const Frame& frame) {
  switch (frame.kind) {
    case Kind::hello: return begin(*read_hello(frame.payload));
    case Kind::open: return open(frame.stream, frame.payload);
    case Kind::pause:
      out_.put(Kind::paused, 0, {});
      paused_ = true;
      return;
    case Kind::go_on: paused_ = false; return;
    case Kind::unknown: return;
    case Kind::accepted:
    case Kind::refused:
    case Kind::paused: return break_session("only the agent may say that");
    case Kind::data:
    case Kind::credit:
    case Kind::end:
    case Kind::reset: break;
    default: {
      const char kind = static_cast<char>(frame.kind);
      return out_.put(Kind::unknown, frame.stream, {&kind, 1});
    }
  }
  if (frame.stream == 0 || frame.stream > last_id_) return break_session("nobody has opened that stream");
  const auto found = streams_.find(frame.stream);
  if (found == streams_.end()) return;  // it is over here, which the host did not know yet
  Stream& stream = *found->second;
  if (frame.kind == Kind::reset) {
    stream.break_off();
    return forget(stream);
  }
  if (frame.kind == Kind::credit) {
    const auto more = read_credit(frame.payload);
    if (!more || !stream.credit.add(*more)) return break_session("more credit than there was");
    return queue(stream);
  }
  if (stream.end_comes) return break_session("it goes on after its end");
  if (frame.kind == Kind::end) {
    stream.end_comes = true;
    return stream.take_end();
  }
  if (!stream.window.receive(frame.payload.size())) return break_session("more data than there was credit for");
  stream.take(frame.payload);
}

void Session::begin(const Hello& hello) {
  drop_streams();
  out_.clear();
  protocol_ = hello.protocol;
  host_window_ = hello.window;
  Hello answer;
  answer.window = own_window();
  answer.nonce = hello.nonce;
  answer.build = build_name;
  answer.words = words_;
  std::string bytes;
  append_hello(bytes, answer);
  out_.put_raw(bytes);
}

void Session::open(std::uint32_t id, std::string_view what) {
  if (id % 2 == 0 || id <= last_id_) return break_session("that number cannot be opened");
  last_id_ = id;
  std::string why;
  std::unique_ptr<Stream> stream;
  if (protocol_ != protocol) {
    why = "protocol " + std::to_string(protocol);
  } else if (streams_.size() >= most_streams) {
    why = "too many streams";
  } else {
    stream = make_(*this, id, what, why);
  }
  if (!stream) return out_.put(Kind::refused, id, why);
  Stream& made = *stream;
  streams_.emplace(id, std::move(stream));
  made.begin();
}

void Session::break_session(const char* why) {
  std::fprintf(stderr, "colima-like-agent: the host's bytes make no sense: %s\n", why);
  end_session();
}

/// What comes next has to begin with a hello.
void Session::end_session() {
  drop_streams();
  out_.clear();
  decoder_.seek();
  protocol_ = 0;
}

void Session::lose_host() {
  end_session();
  input_begin_ = input_end_ = 0;
}

void Session::drop_streams() {
  for (auto& [id, stream] : streams_) {
    stream->break_off();
    stream->release();
    stream->over = true;
    over_.push_back(std::move(stream));
  }
  streams_.clear();
  senders_.clear();
  again_.clear();
  last_id_ = 0;
  paused_ = false;
}

// ---- streams -----------------------------------------------------------------------------------------------------

void Session::send(Stream& stream, std::string_view message) {
  stream.credit.spend(message.size());
  out_.put(Kind::data, stream.id, message);
}

void Session::sent(Stream& stream, std::size_t size) {
  stream.credit.spend(size);
  out_.finish(Kind::data, stream.id, size);
}

void Session::handed_on(Stream& stream, std::size_t bytes) {
  const std::uint32_t credit = stream.window.hand_on(bytes);
  if (credit > 0 && !stream.end_comes) out_.put(Kind::credit, stream.id, credit_payload(credit));
}

void Session::end(Stream& stream) {
  if (stream.over || stream.ended) return;
  stream.ended = true;
  out_.put(Kind::end, stream.id, {});
}

void Session::forget_if_over(Stream& stream) {
  if (!stream.over && stream.ended && stream.end_comes) forget(stream);
}

void Session::refuse(Stream& stream, std::string_view why) {
  out_.put(Kind::refused, stream.id, why);
  forget(stream);
}

void Session::reset(Stream& stream, std::string_view why) {
  out_.put(Kind::reset, stream.id, why);
  stream.break_off();
  forget(stream);
}

void Session::forget(Stream& stream) {
  stream.over = true;
  stream.release();
  const auto found = streams_.find(stream.id);
  over_.push_back(std::move(found->second));
  streams_.erase(found);
}

void Session::queue(Stream& stream) {
  if (stream.queued || stream.over) return;
  stream.queued = true;
  senders_.push_back(stream.id);
}

void Session::serve() {
  for (int i = 0; i < turns_at_once && !senders_.empty(); ++i) {
    if (out_.size() >= out_limit) flush();
    if (out_.size() >= out_limit || out_fd_ < 0) return;
    const auto found = streams_.find(senders_.front());
    senders_.pop_front();
    if (found == streams_.end()) continue;
    Stream& stream = *found->second;
    stream.queued = false;
    if (stream.serve()) queue(stream);
  }
}

void Session::try_again() {
  if (again_.empty()) return;
  std::vector<std::uint32_t> now;
  now.swap(again_);
  for (const std::uint32_t id : now) {
    const auto found = streams_.find(id);
    if (found != streams_.end()) found->second->begin();
  }
}

// ---- to the host -------------------------------------------------------------------------------------------------

void Session::flush() {
  while (writable_ && out_.size() > 0) {
    const ssize_t put = ::write(out_fd_, out_.data(), out_.size());
    if (put >= 0) {
      out_.drop(static_cast<std::size_t>(put));
    } else if (errno == EAGAIN) {
      writable_ = false;
    } else if (errno != EINTR) {
      lose_host();
      ended_ = !comes_back_;
    }
  }
}

}  // namespace cl::agent
