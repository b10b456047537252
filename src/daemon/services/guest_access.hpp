#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "provision/guest.hpp"
#include "src/daemon/guest_link.hpp"
#include "src/daemon/service.hpp"
#include "vm/driver.hpp"

namespace cl {

struct Core;

/// The way to the guest, for transitions, services and clients.
class GuestAccess : public Service {
 public:
  explicit GuestAccess(Core& core) : core_(core) {}

  std::string_view name() const noexcept override { return "the way to the guest"; }
  /// Begins to connect; what waits for the guest before that waits on.
  asio::awaitable<void> open() override;
  asio::awaitable<void> quiesce() override;
  /// A session that could not be brought to rest is ended instead.
  asio::awaitable<void> detach() override;
  asio::awaitable<void> reattach() override;
  asio::awaitable<void> resume() override;
  asio::awaitable<void> close() override;
  void describe(State& state) const override;

  bool connected() const noexcept { return link_ && link_->connected(); }
  /// There is a session, connected or on its way; null: none.
  const std::shared_ptr<GuestLink>& link() const noexcept { return link_; }
  /// Another session of the same kind, to another port of the machine; `agent` is that of the guest's agent.
  std::shared_ptr<GuestLink> connect(const SshPort& port, const std::optional<SshPort>& agent = {},
                                     std::function<void(bool)> on_change = {});

  /// To a host that ssh reaches.
  std::shared_ptr<GuestLink> connect_host(const std::string& remote, std::function<void(bool)> on_change = {});

  /// For transitions. Throws Error{guest_failed}.
  asio::awaitable<std::shared_ptr<Guest>> reach(std::chrono::milliseconds limit);
  /// For what runs as long as the machine: waits until there is a guest that is connected.
  asio::awaitable<std::shared_ptr<Guest>> when_connected();
  /// For clients: waits for a machine that starts as long as that takes, and briefly for one that is away. Throws
  /// Error{not_running}, {host_requirement} while the machine is blocked, {guest_failed}.
  asio::awaitable<std::shared_ptr<Guest>> reach_for_client();
  /// A stream to an engine that can be expected to answer; wakes a suspended machine. While the engine's events
  /// arrive nothing is asked first; otherwise (it restarts, or cannot start, and systemd alone holds its socket) it has
  /// to answer a ping.
  asio::awaitable<std::unique_ptr<ByteStream>> open_engine();

  /// This computer as the guest reaches it: the driver knows it, or else it is the guest's default gateway.
  asio::awaitable<std::string> host_address(Guest& guest);

  /// For what should be done in the guest and is no reason to stop when it cannot: a command's failure is logged.
  asio::awaitable<void> try_command(std::string what, std::string command, std::chrono::milliseconds limit);
  /// Likewise: the guest's clock.
  asio::awaitable<void> try_set_clock();
  /// Nobody waits any longer: the machine is gone.
  void give_up(Error why);

  static constexpr auto boot_patience = std::chrono::minutes(5);  ///< a first boot under TCG on a loaded host
  static constexpr auto client_patience = std::chrono::seconds(5);
  static constexpr auto wake_patience =
      std::chrono::seconds(20);  ///< a resumed guest answers in milliseconds, or is broken

 private:
  std::chrono::milliseconds patience() const noexcept;
  void follow(bool reached) noexcept;
  std::string away() const;

  Core& core_;
  SshLogin login_;
  std::shared_ptr<GuestLink> link_;
  bool quiesced_ = false;
  std::string host_address_;  ///< once it was found out
};

}  // namespace cl
