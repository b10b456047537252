#pragma once

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

  /// Sets the guest's clock to the host's; it is late afterwards by the time that a line takes into the guest, which
  /// docs/benchmarks.md has in milliseconds. Throws Error{guest_failed} when the guest refuses, {io} when it cannot be
  /// reached.
  asio::awaitable<void> set();

  explicit GuestClock(std::unique_ptr<GuestProcess> setter) : setter_(std::move(setter)) {}

 private:
  std::unique_ptr<GuestProcess> setter_;
};

}  // namespace cl
