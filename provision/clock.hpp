#pragma once

#include <chrono>
#include <memory>

#include "provision/guest.hpp"
#include "src/base/async.hpp"

namespace cl {

/// A guest's clock, which stands still while the machine is suspended or the host asleep.
///
/// Keeps one small program in the guest waiting for the time: a resumed emulated guest has to translate every program
/// anew that it runs, and starting one through sshd takes it more than half a second.
class GuestClock {
 public:
  /// Starts the program. The guest must outlive this object. Throws Error{guest_failed}, {io}.
  static asio::awaitable<std::unique_ptr<GuestClock>> start(Guest& guest);

  /// How long a line into the guest and its answer may take; the clock is late by a part of that.
  static constexpr std::chrono::milliseconds close_enough{30};
  static constexpr int most_tries = 5;

  /// Sets the guest's clock to the host's, again until that was done within `close_enough`, or `most_tries` times on
  /// a guest that is slower. Throws Error{guest_failed} when the guest refuses, {io} when it cannot be reached.
  asio::awaitable<void> set();

  explicit GuestClock(std::unique_ptr<GuestProcess> setter) : setter_(std::move(setter)) {}

 private:
  asio::awaitable<std::chrono::nanoseconds> set_once();

  std::unique_ptr<GuestProcess> setter_;
};

}  // namespace cl
