#pragma once

#include <memory>

#include "provision/guest.hpp"
#include "provision/ssh/pump.hpp"

namespace cl::ssh {

/// One channel as a byte stream. Owns the channel: it is given up on close() or destruction, without waiting.
class ChannelStream : public ByteStream {
 public:
  ChannelStream(std::shared_ptr<Pump> pump, Handle* channel) : pump_(std::move(pump)), channel_(channel) {}
  ChannelStream(const ChannelStream&) = delete;
  ChannelStream& operator=(const ChannelStream&) = delete;
  ~ChannelStream() override { close(); }

  asio::awaitable<std::size_t> read_some(std::span<char> space) override { return read_stream(0, space); }
  asio::awaitable<void> write(std::span<const char> bytes) override;
  asio::awaitable<void> shutdown_write() override;
  void close() noexcept override;

  /// stdout (0) or stderr (1).
  asio::awaitable<std::size_t> read_stream(int stream, std::span<char> space);
  Pump& pump() noexcept { return *pump_; }
  /// Throws Error{io} once closed.
  Handle* channel() const;

 private:
  std::shared_ptr<Pump> pump_;
  Handle* channel_;
};

/// A session channel with a program on it.
class ChannelProcess : public GuestProcess {
 public:
  ChannelProcess(std::shared_ptr<Pump> pump, Handle* channel) : stream_(std::move(pump), channel) {}
  /// Starts the program; for use once, right after construction. Error{guest_failed} when the server refuses.
  asio::awaitable<void> start(ExecRequest request);

  ByteStream& io() override { return stream_; }
  asio::awaitable<std::size_t> read_errors(std::span<char> space) override { return stream_.read_stream(1, space); }
  asio::awaitable<void> resize(TerminalSize size) override;
  asio::awaitable<int> wait_exit() override;

 private:
  ChannelStream stream_;
};

/// The number of a signal as SSH names it (RFC 4254 section 6.10: without "SIG"), in the numbering of a Linux guest;
/// 0 when unknown.
int linux_signal_number(std::string_view name) noexcept;

}  // namespace cl::ssh
