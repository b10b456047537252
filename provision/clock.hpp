#pragma once

#include <chrono>
#include <memory>

#include "provision/guest.hpp"
#include "src/base/async.hpp"

namespace cl {

/// Sets a guest's clock to the host's: it stands still while the machine is suspended or the host asleep. How long a
/// message to the guest's agent and its answer may take; the clock is late by a part of that.
inline constexpr std::chrono::milliseconds clock_close_enough{30};
inline constexpr int most_clock_tries = 5;

/// Sets it again until that was done within `clock_close_enough`, or `most_clock_tries` times on a guest that is
/// slower. Throws Error{guest_failed} when the guest refuses or has no agent, {io} when it cannot be reached.
asio::awaitable<void> set_guest_clock(std::shared_ptr<Guest> guest);

}  // namespace cl
