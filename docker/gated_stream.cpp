#include "docker/gated_stream.hpp"

#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cstring>

namespace cl {
namespace {

constexpr std::size_t body_limit = 4 * 1024 * 1024;  // a larger create call is the engine's own matter

/// Calls after which ports of a container may be others: its start, and its move from one network to another.
bool changes_ports(std::string_view method, std::string_view target) {
  if (method != "POST") return false;
  if (target.starts_with("/containers/")) return target.ends_with("/start") || target.ends_with("/restart");
  return target.starts_with("/networks/") && (target.ends_with("/connect") || target.ends_with("/disconnect"));
}

/// Calls whose body may name folders of this host.
bool may_mount(std::string_view method, std::string_view target) {
  if (method != "POST") return false;
  if (target.starts_with("/services/")) return target.ends_with("/create") || target.ends_with("/update");
  return target == "/containers/create" || target == "/volumes/create";
}

std::string refusal(const Error& error) {
  std::string message = one_line(error);
  if (!error.remedy().empty()) message += ". " + error.remedy();
  boost::json::object object;
  object["message"] = message;
  const std::string body = boost::json::serialize(object) + "\n";
  return "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: " +
         std::to_string(body.size()) + "\r\nConnection: close\r\n\r\n" + body;
}

}  // namespace

void GatedStream::look_at_head() {
  if (gates_->settled && changes_ports(watch_.method(), watch_.target())) start_asked_ = true;
  holding_ = gates_->check && may_mount(watch_.method(), watch_.target()) && watch_.has_body();
}

/// False when the call was refused: the engine, which waits for the body, then never gets one.
asio::awaitable<bool> GatedStream::check_body() {
  try {
    std::string body = held_.starts_with('{') ? held_ : unchunked(held_);
    co_await gates_->check(std::move(body));
    co_return true;
  } catch (const Error& error) {
    refusal_ = refusal(error);
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
