#include "src/egress/checked_stream.hpp"

#include <algorithm>
#include <utility>

namespace cl {

asio::awaitable<void> CheckedStream::write(std::span<const char> bytes) {
  if (passed_) co_return co_await server_->write(bytes);
  held_.append(bytes.data(), bytes.size());
  // What is long already is looked at again with the next line, or at its limit: else each byte would cost as much as
  // all of them.
  constexpr std::size_t is_long = 1024;
  constexpr char tls_record = 0x16;
  const bool may_decide = held_.size() < is_long || held_.size() >= most_first_bytes || held_.front() == tls_record ||
                          std::find(bytes.begin(), bytes.end(), '\n') != bytes.end();
  if (may_decide) co_await let_pass(false);
}

asio::awaitable<void> CheckedStream::shutdown_write() {
  if (!passed_) co_await let_pass(true);
  co_await server_->shutdown_write();
}

/// Once it is known where they go; `is_all`: what there is has to do.
asio::awaitable<void> CheckedStream::let_pass(bool is_all) {
  const FirstBytes first = look_at_first_bytes(held_, is_all);
  if (first.kind == FirstBytes::Kind::more) co_return;
  if (first.kind != FirstBytes::Kind::other)
    if (const std::string why = check_(first); !why.empty()) throw Error(Errc::io, why);
  passed_ = true;
  const std::string held = std::exchange(held_, {});
  if (!held.empty()) co_await server_->write(held);
}

}  // namespace cl
