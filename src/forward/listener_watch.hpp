#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "provision/guest.hpp"
#include "src/base/task_group.hpp"
#include "src/forward/host_port.hpp"

namespace cl {

/// A port of the guest itself on which a program listens.
struct Listener {
  Protocol protocol = Protocol::tcp;
  asio::ip::address address;
  std::uint16_t port = 0;
  std::string control_group;  ///< of the program: "/docker/ID" for a container's; "-" when it is not known
};

/// One line of the agent's service `listeners` (docs/agent.md); nothing when it is none.
std::optional<Listener> read_listener(std::string_view line);

/// Knows on which ports of the guest programs listen. The agent there learns it from the guest's kernel. Owner's rule:
/// await stop() before destruction.
class ListenerWatch {
 public:
  using ReachGuest = std::function<asio::awaitable<std::shared_ptr<Guest>>()>;

  /// `on_change` is called when now() has changed.
  ListenerWatch(asio::any_io_executor executor, ReachGuest guest, std::function<void()> on_change);

  /// As last reported; empty while the guest is away.
  const std::vector<Listener>& now() const noexcept { return now_; }

  asio::awaitable<void> stop() { return tasks_.stop(); }

 private:
  asio::awaitable<void> keep_watching();
  asio::awaitable<void> watch(std::shared_ptr<Guest> reached);
  void take(std::string_view lines, std::vector<Listener>& list);
  void set(std::vector<Listener> list);

  ReachGuest guest_;
  std::function<void()> on_change_;
  std::vector<Listener> now_;
  TaskGroup tasks_;
};

}  // namespace cl
