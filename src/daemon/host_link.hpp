#pragma once

#include <memory>
#include <optional>
#include <string>

#include "provision/channel/agent_host.hpp"
#include "src/base/child.hpp"
#include "src/base/task_group.hpp"
#include "src/daemon/guest_link.hpp"
#include "src/daemon/visits.hpp"

namespace cl {

/// The connection to a host of somebody's: one process of the user's own ssh, with the agent at its other end. Whenever
/// it is lost another one is begun; what runs on the host is not touched by that.
class HostLink : public GuestLink, public std::enable_shared_from_this<HostLink> {
 public:
  static std::shared_ptr<GuestLink> start(asio::any_io_executor executor, Config config);
  HostLink(asio::any_io_executor executor, Config config);  // for start()

  bool connected() const noexcept override { return guest_ && agent_->usable(); }
  std::shared_ptr<Guest> current() const noexcept override { return connected() ? guest_ : nullptr; }
  /// Before the host was reached for the first time, and when the user has something to mend, throws at once.
  asio::awaitable<std::shared_ptr<Guest>> guest(std::chrono::milliseconds limit) override;
  asio::awaitable<bool> quiesce() override { co_return false; }
  asio::awaitable<void> detach() override { co_return; }
  asio::awaitable<void> reattach() override { co_return; }
  void resume() override {}
  /// A host's clock is its own.
  asio::awaitable<void> set_clock(std::chrono::milliseconds) override { co_return; }
  asio::awaitable<void> check() override;
  void log_in_again() override;
  void give_up(Error why) override;
  asio::awaitable<void> stop() override;

 private:
  static asio::awaitable<void> keep_connected(std::shared_ptr<HostLink> self);
  asio::awaitable<void> connect_and_follow(std::chrono::seconds limit);
  asio::awaitable<void> converse(int descriptor);
  asio::awaitable<std::shared_ptr<Guest>> wait_for_guest();

  asio::any_io_executor executor_;
  Config config_;
  Notifier changed_;
  Visits visits_;
  std::shared_ptr<Agent> agent_;
  std::shared_ptr<AgentHost> guest_;
  std::string said_;  ///< by ssh and the agent, on stderr
  bool was_reached_ = false;
  std::chrono::milliseconds took_{};  ///< the last connection, until the agent answered
  std::optional<Error> last_failure_;
  std::optional<Error> given_up_;
  TaskGroup tasks_;
};

}  // namespace cl
