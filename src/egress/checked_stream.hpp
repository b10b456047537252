#pragma once

#include <functional>
#include <memory>
#include <string>

#include "src/base/stream.hpp"
#include "src/egress/first_bytes.hpp"

namespace cl {

/// A stream to a server that gets nothing from its client before the client has said where it goes: `check` is given
/// what a TLS or an HTTP connection says of that and returns why that may not be, or nothing. What the server says
/// passes at once, as do all bytes of another protocol.
class CheckedStream final : public ByteStream {
 public:
  using Check = std::function<std::string(const FirstBytes& first)>;

  CheckedStream(std::unique_ptr<ByteStream> server, Check check)
      : server_(std::move(server)), check_(std::move(check)) {}

  asio::awaitable<std::size_t> read_some(std::span<char> space) override { return server_->read_some(space); }
  /// Throws Error{io} with what `check` says; nothing has been written then.
  asio::awaitable<void> write(std::span<const char> bytes) override;
  asio::awaitable<void> shutdown_write() override;
  void close() noexcept override { server_->close(); }

 private:
  asio::awaitable<void> let_pass(bool is_all);

  std::unique_ptr<ByteStream> server_;
  Check check_;
  std::string held_;
  bool passed_ = false;
};

}  // namespace cl
