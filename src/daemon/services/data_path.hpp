#pragma once

#include <memory>

#include "provision/guest.hpp"
#include "src/daemon/guest_link.hpp"
#include "src/daemon/service.hpp"

namespace cl {

struct Core;

/// What published ports carry goes a way of its own, so that much of it delays nothing else: the ports of the guest's
/// agent, or where the driver has none a second SSH session. Until that stands all goes by the first session.
class DataPath : public Service {
 public:
  explicit DataPath(Core& core) : core_(core) {}

  std::string_view name() const noexcept override { return "the data path"; }
  /// Only now: a second handshake would slow the boot down.
  asio::awaitable<void> ready() override;
  asio::awaitable<void> quiesce() override { return close(); }
  asio::awaitable<void> resume() override { return ready(); }
  asio::awaitable<void> close() override;

  /// The guest, by the way that there is now; wakes a suspended machine.
  asio::awaitable<std::shared_ptr<Guest>> carrier();

 private:
  Core& core_;
  std::shared_ptr<GuestLink> second_;
};

}  // namespace cl
