#pragma once

#include <boost/asio/ip/address.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "provision/guest.hpp"
#include "src/base/net/relay.hpp"
#include "src/base/task_group.hpp"

namespace cl {

/// Carries datagrams between UDP ports of this host and addresses in the guest. SSH has no channel for them, so a small
/// program in the guest (src/forward/udp_relay.pl) does it over one exec channel, started with the first datagram.
///
/// A flow is one peer of one port: it keeps one socket in the guest, so that the far end sees one sender, and its
/// answers leave from the address that the peer had sent to. It ends after `idle` without a datagram. As UDP may,
/// datagrams are dropped while the guest is away or more than a megabyte waits for it.
class UdpForward {
 public:
  using Target = std::pair<std::string, std::uint16_t>;
  using ReachGuest = std::function<asio::awaitable<std::shared_ptr<Guest>>()>;
  struct Timings {
    std::chrono::milliseconds idle{std::chrono::seconds(90)};  ///< as long as Docker's own proxy keeps one
    std::chrono::milliseconds again{std::chrono::seconds(1)};  ///< before the helper is started again after a failure
  };

  UdpForward(asio::any_io_executor executor, ReachGuest guest, Timings timings);
  ~UdpForward();

  /// An open port; closed when destroyed, and its flows with it.
  class Port;
  /// Opens a port. On failure returns nothing and sets `ec`. `traffic` is shared with whoever reports it.
  std::shared_ptr<Port> open(const asio::ip::address& address, std::uint16_t port, Target target,
                             std::shared_ptr<Traffic> traffic, error_code& ec);
  std::size_t flows() const noexcept;

  /// Closes everything. Before destruction.
  asio::awaitable<void> stop();

 private:
  struct State;
  std::shared_ptr<State> state_;
  TaskGroup tasks_;
};

}  // namespace cl
