#include "docker/gated_stream.hpp"

#include "src/base/net/http_error.hpp"

#include <algorithm>
#include <cstring>

namespace cl {
namespace {

constexpr std::size_t body_limit = 4 * 1024 * 1024;  // a larger create call is the engine's own matter

/// "/containers/NAME/start" and the like.
bool is_start(std::string_view method, std::string_view target) {
  return method == "POST" && target.starts_with("/containers/") &&
         (target.ends_with("/start") || target.ends_with("/restart"));
}

/// The data of a chunked body, as it came (RequestWatch has found its end, so it is well formed).
std::string unchunked(std::string_view body) {
  std::string data;
  while (!body.empty()) {
    const std::size_t size = std::strtoull(std::string(body.substr(0, body.find('\r'))).c_str(), nullptr, 16);
    const auto begin = body.find('\n');
    if (size == 0 || begin == std::string_view::npos) break;
    data += body.substr(begin + 1, size);
    body.remove_prefix(std::min(body.size(), begin + 1 + size + 2));
  }
  return data;
}

}  // namespace

void GatedStream::look_at_head() {
  if (gates_->settled && is_start(watch_.method(), watch_.target())) start_asked_ = true;
  holding_ = gates_->check && watch_.method() == "POST" && watch_.target() == "/containers/create" && watch_.has_body();
}

/// False when the call was refused: the engine, which waits for the body, then never gets one.
asio::awaitable<bool> GatedStream::check_body() {
  try {
    std::string body = held_.starts_with('{') ? held_ : unchunked(held_);
    co_await gates_->check(std::move(body));
    co_return true;
  } catch (const Error& error) {
    refusal_ = http_error("400 Bad Request", error);
    refused_ = true;
  }
  engine_->close();  // ends the pending read, which then brings the refusal
  co_return false;
}

asio::awaitable<void> GatedStream::write(std::span<const char> bytes) {
  std::string_view rest(bytes.data(), bytes.size());
  std::string_view passed = rest.substr(0, 0);  // looked at and not yet sent: one write when nothing is held
  while (!rest.empty() && !refused_) {
    const RequestWatch::Piece piece = watch_.next(rest);
    if (holding_ && piece.kind == RequestWatch::Piece::Kind::body) {
      if (!passed.empty()) co_await engine_->write(passed);
      passed = rest.substr(0, 0);
      held_ += piece.bytes;
      if (!piece.last && held_.size() <= body_limit) continue;
      holding_ = false;
      if (piece.last && !(co_await check_body())) break;
      const std::string body = std::exchange(held_, {});
      co_await engine_->write(body);
      continue;
    }
    if (piece.kind == RequestWatch::Piece::Kind::head && piece.last) look_at_head();
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
  if (refused_) {
    got = std::min(space.size(), refusal_.size());
    std::memcpy(space.data(), refusal_.data(), got);
    refusal_.erase(0, got);
    co_return got;
  }
  if (failure) std::rethrow_exception(failure);
  if (got > 0 && std::exchange(start_asked_, false)) co_await gates_->settled();
  co_return got;
}

asio::awaitable<void> GatedStream::shutdown_write() {
  if (!refused_) co_await engine_->shutdown_write();
}

}  // namespace cl
