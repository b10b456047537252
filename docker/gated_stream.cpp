#include "docker/gated_stream.hpp"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

#include "docker/loopback_ports.hpp"
#include "src/base/net/http_error.hpp"

namespace cl {
namespace {

constexpr std::size_t body_limit = 4 * 1024 * 1024;  // a larger create call is the engine's own matter

/// Calls that may change published ports: a container's start, its move between networks, a new or changed service.
bool changes_ports(std::string_view method, std::string_view target) {
  if (method != "POST") return false;
  if (target.starts_with("/services/")) return target.ends_with("/create") || target.ends_with("/update");
  if (target.starts_with("/containers/")) return target.ends_with("/start") || target.ends_with("/restart");
  return target.starts_with("/networks/") && (target.ends_with("/connect") || target.ends_with("/disconnect"));
}

/// Calls whose body may name folders of this host.
bool may_mount(std::string_view method, std::string_view target) {
  if (method != "POST") return false;
  if (target.starts_with("/services/")) return target.ends_with("/create") || target.ends_with("/update");
  return target == "/containers/create" || target == "/volumes/create";
}

/// NAME in "/containers/NAME/start" and "/containers/NAME/restart"; empty in others.
std::string started_container(std::string_view target) {
  constexpr std::string_view begin = "/containers/";
  if (!target.starts_with(begin)) return {};
  target.remove_prefix(begin.size());
  return std::string(target.substr(0, target.find('/')));
}

}  // namespace

void GatedStream::look_at_head() {
  note_use(false);
  if (watch_.target() == "/_ping" || watch_.target() == "/version") greeting_ = watch_.method() + " " + watch_.target();
  starts_ =
      gates_->starts && !started_container(watch_.target()).empty() && changes_ports(watch_.method(), watch_.target());
  if (gates_->reconciled && changes_ports(watch_.method(), watch_.target())) {
    start_asked_ = true;
    started_ = started_container(watch_.target());
  }
  holding_ = (gates_->check || gates_->rewrite) && may_mount(watch_.method(), watch_.target()) && watch_.has_body();
}

/// `hijacked`: what follows is no request.
void GatedStream::note_use(bool hijacked) {
  if (!gates_->use || (hijacked && gates_->use->works)) return;
  ClientUse& use = *gates_->use;
  constexpr std::size_t longest = 120;  // it is shown to people
  if (!watch_.method().empty()) use.request = (watch_.method() + " " + watch_.target()).substr(0, longest);
  use.works = use.works || hijacked || !only_looks(watch_.method(), watch_.target());
}

/// When it came whole.
void GatedStream::note_greeting(std::string_view answer) {
  constexpr std::string_view length = "\r\nContent-Length: ";
  const std::string call = std::exchange(greeting_, {});
  const auto end = answer.find("\r\n\r\n");
  if (!gates_->greeted || !answer.starts_with("HTTP/1.1 200 ") || end == std::string_view::npos) return;
  const std::string_view head = answer.substr(0, end + 2), body = answer.substr(end + 4);
  const auto told = head.find(length);
  if (told == std::string_view::npos) return;
  const std::string_view number = head.substr(told + length.size(), head.find('\r', told + 2) - told - length.size());
  if (body.empty() ? call.starts_with("HEAD ") : number == std::to_string(body.size()))
    gates_->greeted(call, std::string(answer));
}

/// False when the call was refused: the engine then never gets the body that it waits for.
asio::awaitable<bool> GatedStream::check_body() {
  try {
    std::string body = held_.starts_with('{') ? held_ : unchunked(held_);
    if (gates_->check) co_await gates_->check(std::move(body));
    co_return rewrite_body();
  } catch (const Error& error) {
    answer_instead(http_error("400 Bad Request", error));
  }
  co_return false;
}

/// What the engine gets is then head_ and held_.
bool GatedStream::rewrite_body() {
  if (!gates_->rewrite) return true;
  auto body = gates_->rewrite(watch_.target(), held_.starts_with('{') ? held_ : unchunked(held_));
  if (!body) return true;
  head_ = head_for_body(head_, body->size());
  held_ = std::move(*body);
  return true;
}

/// The connection ends with this answer.
void GatedStream::answer_instead(std::string answer) {
  refusal_ = std::move(answer);
  refused_ = true;
  engine_->close();  // ends a pending read, which then brings the answer
}

asio::awaitable<void> GatedStream::write(std::span<const char> bytes) {
  if (gates_->use) gates_->use->last = ClientUse::Clock::now();
  std::string_view rest(bytes.data(), bytes.size());
  std::string_view passed = rest.substr(0, 0);  // parsed and not yet sent: one write when nothing is held back
  while (!rest.empty() && !refused_) {
    const RequestWatch::Piece piece = watch_.next(rest);
    if (holding_ && piece.kind == RequestWatch::Piece::Kind::body) {
      if (!passed.empty()) co_await engine_->write(passed);
      passed = rest.substr(0, 0);
      held_ += piece.bytes;
      if (!piece.last && held_.size() <= body_limit) continue;
      holding_ = false;
      if (piece.last && !(co_await check_body())) break;
      const std::string whole = std::exchange(head_, {}) + std::exchange(held_, {});
      co_await engine_->write(whole);
      continue;
    }
    if (piece.kind == RequestWatch::Piece::Kind::head && piece.last) {
      look_at_head();
      if (std::exchange(starts_, false)) co_await gates_->starts();
    }
    if (piece.kind == RequestWatch::Piece::Kind::opaque) note_use(true);
    if (gates_->rewrite && piece.kind == RequestWatch::Piece::Kind::head) {
      head_ += piece.bytes;
      if (!piece.last || holding_) continue;
    }
    if (!head_.empty()) {
      // All of it is sent from here: what was looked at is in two places.
      std::string whole(passed);
      whole += std::exchange(head_, {});
      if (piece.kind != RequestWatch::Piece::Kind::head) whole += piece.bytes;
      co_await engine_->write(whole);
      passed = rest.substr(0, 0);
      continue;
    }
    passed = passed.empty() ? piece.bytes : std::string_view(passed.data(), passed.size() + piece.bytes.size());
  }
  if (!passed.empty() && !refused_) co_await engine_->write(passed);
}

asio::awaitable<std::size_t> GatedStream::read_some(std::span<char> space) {
  std::size_t got = 0;
  std::exception_ptr failure;
  if (!refused_) {
    try {
      got = co_await engine_->read_some(space);
    } catch (const Error&) {
      failure = std::current_exception();
    }
  }
  if (gates_->use) gates_->use->last = ClientUse::Clock::now();
  if (got > 0 && !greeting_.empty()) note_greeting({space.data(), got});
  if (got > 0 && !refused_ && std::exchange(start_asked_, false)) {
    co_await gates_->reconciled();
    const bool started = std::string_view(space.data(), got).starts_with("HTTP/1.1 204");
    if (started && gates_->taken && !started_.empty())
      if (const std::string taken = co_await gates_->taken(started_); !taken.empty())
        answer_instead(
            http_error("500 Internal Server Error",
                       "driver failed programming external connectivity on endpoint " + started_ + ": " + taken));
  }
  if (refused_) {
    got = std::min(space.size(), refusal_.size());
    std::memcpy(space.data(), refusal_.data(), got);
    refusal_.erase(0, got);
    co_return got;
  }
  if (failure) std::rethrow_exception(failure);
  co_return got;
}

asio::awaitable<void> GatedStream::shutdown_write() {
  if (!refused_) co_await engine_->shutdown_write();
}

}  // namespace cl
