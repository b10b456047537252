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

/// Forwards datagrams between UDP ports of this host and addresses in the guest, whose agent has a socket for each
/// flow.
///
/// A flow is one peer of one port. It keeps its socket in the guest, so the far end sees one sender. Answers leave from
/// the address that the peer has sent to. A flow ends after `idle` without a datagram. When the agent is lost, the next
/// datagram opens another socket. Datagrams are dropped when too many wait.
class UdpForward {
 public:
  using Target = std::pair<std::string, std::uint16_t>;
  using ReachGuest = std::function<asio::awaitable<std::shared_ptr<Guest>>()>;
  struct Timings {
    std::chrono::milliseconds idle{std::chrono::seconds(90)};  ///< as long as Docker's own proxy keeps one
    std::chrono::milliseconds again{std::chrono::seconds(1)};  ///< after a guest or agent that could not be reached
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
