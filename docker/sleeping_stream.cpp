#include "docker/sleeping_stream.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cstring>
#include <optional>

namespace cl {
namespace {

std::string unavailable(const Error& error) {
  boost::json::object object;
  object["message"] = one_line(error) + (error.remedy().empty() ? "" : ". " + error.remedy());
  const std::string body = boost::json::serialize(object) + "\n";
  return fmt::format(
      "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: {}\r\n"
      "Connection: close\r\n\r\n{}",
      body.size(), body);
}

}  // namespace

/// The call whose head was completed last; false when it has to go to the engine.
bool SleepingStream::answered() {
  if (!sleeps_() || !only_looks(watch_.method(), watch_.target()) || watch_.has_body()) return false;
  if (const auto known = greetings_.find(watch_.method() + " " + watch_.target()); known != greetings_.end()) {
    answer_ += known->second;
    return true;
  }
  if (!only_lists(watch_.target())) return false;
  answer_ += unavailable(Error(Errc::not_running, "the machine sleeps, and who only looks does not wake it",
                               "'colima-like start' wakes it; 'idle_clients' is set to working"));
  over_ = true;
  return true;
}

asio::awaitable<void> SleepingStream::wake() {
  std::optional<Error> failure;
  try {
    engine_ = co_await open_();
  } catch (const Error& error) {
    failure = error;
  }
  if (failure) {
    answer_ += unavailable(*failure);
    over_ = true;
  }
  changed_.notify_all();
}

asio::awaitable<void> SleepingStream::write(std::span<const char> bytes) {
  std::string_view rest(bytes.data(), bytes.size());
  while (!rest.empty() && !engine_ && !over_) {
    const RequestWatch::Piece piece = watch_.next(rest);
    held_ += piece.bytes;
    if (piece.kind == RequestWatch::Piece::Kind::head && !piece.last) continue;
    if (piece.kind == RequestWatch::Piece::Kind::head && answered()) {
      held_.clear();
      changed_.notify_all();
      continue;
    }
    co_await wake();
  }
  if (!engine_) co_return;
  if (const std::string begin = std::exchange(held_, {}); !begin.empty()) co_await engine_->write(begin);
  if (!rest.empty()) co_await engine_->write(rest);
}

asio::awaitable<std::size_t> SleepingStream::read_some(std::span<char> space) {
  while (answer_.empty() && !engine_ && !over_) co_await changed_.wait();
  if (answer_.empty()) co_return over_ ? 0 : co_await engine_->read_some(space);
  const std::size_t got = std::min(space.size(), answer_.size());
  std::memcpy(space.data(), answer_.data(), got);
  answer_.erase(0, got);
  co_return got;
}

asio::awaitable<void> SleepingStream::shutdown_write() {
  if (engine_) co_return co_await engine_->shutdown_write();
  over_ = true;
  changed_.notify_all();
}

void SleepingStream::close() noexcept {
  if (engine_) engine_->close();
  over_ = true;
  changed_.notify_all();
}

}  // namespace cl
