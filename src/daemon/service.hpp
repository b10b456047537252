#pragma once

#include <string_view>

#include "profiles/state.hpp"
#include "src/base/async.hpp"

namespace cl {

/// One thing that a profile offers while it has a machine. All of them are in one list (core.hpp), opened in its order
/// and closed in the reverse one; every transition goes through that list, so the order is written down once.
///
/// Every function may be called in any state of the service and does nothing when there is nothing to do.
class Service {
 public:
  Service() = default;
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;
  virtual ~Service() = default;

  virtual std::string_view name() const noexcept = 0;

  /// The hypervisor runs: begins to serve. Clients may come before the guest is there; they wait.
  virtual asio::awaitable<void> open() { co_return; }
  /// The guest is set up: whatever talks to it begins.
  virtual asio::awaitable<void> ready() { co_return; }

  // Suspend, in this order; an error of the suspend leads from quiesce() straight to resume().
  /// Brings what goes through the guest to rest, so that nothing is on its way when its memory is saved.
  virtual asio::awaitable<void> quiesce() { co_return; }
  /// The hypervisor has saved and is gone: takes in what it still sent, and disconnects.
  virtual asio::awaitable<void> detach() { co_return; }
  /// Another hypervisor is about to load what was saved: connects to it.
  virtual asio::awaitable<void> reattach() { co_return; }
  /// The guest runs again, or still.
  virtual asio::awaitable<void> resume() { co_return; }

  /// Ends everything and waits for that.
  virtual asio::awaitable<void> close() { co_return; }
  /// Writes what `status` shows of it, also that there is nothing to show.
  virtual void describe(State&) const {}
};

}  // namespace cl
