#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "provision/channel/agent_guest.hpp"
#include "provision/guest.hpp"
#include "provision/ssh/session.hpp"
#include "src/base/task_group.hpp"
#include "src/daemon/guest_link.hpp"
#include "src/daemon/visits.hpp"

namespace cl {

/// The connection by SSH, and the guest's agent (provision/channel/agent_guest.hpp).
class SshLink : public GuestLink, public std::enable_shared_from_this<SshLink> {
 public:
  static std::shared_ptr<GuestLink> start(asio::any_io_executor executor, Config config);
  SshLink(asio::any_io_executor executor, Config config);  // for start()

  bool connected() const noexcept override { return guest_ != nullptr; }
  std::shared_ptr<Guest> current() const noexcept override { return guest_ ? front_ : nullptr; }
  asio::awaitable<std::shared_ptr<Guest>> guest(std::chrono::milliseconds limit) override;
  asio::awaitable<bool> quiesce() override;
  asio::awaitable<void> detach() override;
  asio::awaitable<void> reattach() override;
  void resume() override;
  asio::awaitable<void> set_clock(std::chrono::milliseconds limit) override;
  asio::awaitable<void> check() override;
  AgentState agent() const override { return front_ ? front_->state() : AgentState{}; }
  void give_up(Error why) override;
  asio::awaitable<void> stop() override;

 private:
  /// Keeps the link alive for as long as it has something to wait for.
  static asio::awaitable<void> keep_connected(std::shared_ptr<SshLink> self);
  asio::awaitable<std::shared_ptr<Guest>> wait_for_guest();

  asio::any_io_executor executor_;
  Config config_;
  Notifier changed_;
  Visits visits_;
  std::shared_ptr<SshSession> guest_;
  std::shared_ptr<AgentGuest> front_;  ///< guest_ as others get it
  bool checking_ = false;
  bool quiesced_ = false;  ///< callers wait until resume()
  std::optional<Error> last_failure_;
  std::optional<Error> given_up_;
  TaskGroup tasks_;
};

}  // namespace cl
