#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "src/base/stream.hpp"

namespace cl {

/// Bytes carried by one or by many relays, updated while they run.
struct Traffic {
  std::uint64_t a_to_b = 0;
  std::uint64_t b_to_a = 0;
  std::chrono::steady_clock::time_point last{};  ///< when a byte or an end of stream was last handed on
};

/// What one relay did.
struct RelayCount {
  std::uint64_t a_to_b = 0;
  std::uint64_t b_to_a = 0;
  std::string broken;  ///< why it was cut short; empty when both directions ended by themselves
};

/// Copies between two streams until both directions have ended, each by itself: the end of a's bytes
/// becomes b.shutdown_write() while b's bytes still flow. A failure on either stream closes both at once.
/// A direction holds at most 256 KiB that its reader has not taken, and 2 KiB while it is quiet; there is
/// no idle time-out. `shared`, when given, is added to as bytes pass and must outlive the relay.
/// A broken connection is a result, not an exception. A cancellation closes both streams and is thrown on
/// once both directions have stopped. The streams are not closed after a clean end.
asio::awaitable<RelayCount> relay(ByteStream& a, ByteStream& b, Traffic* shared = nullptr);

}  // namespace cl
