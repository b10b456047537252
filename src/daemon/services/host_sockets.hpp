#pragma once

#include <boost/json/array.hpp>
#include <chrono>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "src/daemon/service.hpp"
#include "src/forward/node_cover.hpp"
#include "src/forward/reverse_forward.hpp"
#include "src/shares/socket_bind.hpp"

namespace cl {

struct Core;

/// Unix sockets of this host that containers mount: the guest gets at one when a client of the engine's socket here
/// has named it in a container, not before, and no longer than there is such a container. State::host_sockets is the
/// list, which outlives the machine as containers do.
class HostSockets : public Service {
 public:
  static constexpr std::size_t most = 32;              ///< at a time
  static constexpr std::size_t most_connections = 64;  ///< of one, at a time

  explicit HostSockets(Core& core);

  std::string_view name() const noexcept override { return "this host's sockets in the guest"; }
  asio::awaitable<void> ready() override;
  asio::awaitable<void> close() override;
  void describe(State& state) const override;

  /// For a container that is to be created with this call: what it mounts that is a socket of this host is there when
  /// this returns. By these names it needs no further check. Throws Error when a socket cannot be given to it.
  asio::awaitable<std::set<std::string>> open_for(std::string body);
  /// For containers that exist: those of the list, as the profile has it now. Returns when each is there, or has said
  /// why not.
  asio::awaitable<void> bring_back();
  /// For a container that is to be started: who serves a socket in a share may have made it anew, and the guest knows
  /// of that when somebody looks there.
  asio::awaitable<void> look_again();
  /// Whether the guest has all of them.
  bool there() const;
  /// The engine's list of running containers has changed: others may be gone.
  void set_containers();

 private:
  using Clock = std::chrono::steady_clock;
  /// What offers one socket.
  struct Relay {
    std::unique_ptr<ReverseForward> forward;
    std::unique_ptr<NodeCover> cover;  ///< null: the guest has no node of that name
    Clock::time_point given{};         ///< to a container that the engine may not have yet
    bool is_open() const { return forward && forward->is_open() && problem().empty(); }
    std::string problem() const;
  };
  SocketRules rules() const;
  asio::awaitable<void> give(SocketBind bind);
  asio::awaitable<void> make_room();
  std::shared_ptr<Relay> relay_of(const HostSocketState& wanted);
  asio::awaitable<void> settle(std::shared_ptr<Relay> relay, std::chrono::milliseconds limit);
  asio::awaitable<void> settle_all();
  asio::awaitable<void> end(std::string guest);
  asio::awaitable<void> end_all();
  asio::awaitable<void> forget_unused();
  asio::awaitable<void> keep_tidy();
  asio::awaitable<std::shared_ptr<Guest>> reach();
  asio::awaitable<std::unique_ptr<ByteStream>> connect(HostSocketState to);
  void on_state();

  Core& core_;
  const std::filesystem::path own_;                       ///< our own files, links resolved
  std::map<std::string, std::shared_ptr<Relay>> relays_;  ///< by the guest's path
  bool containers_changed_ = false;
  Notifier changed_;  ///< containers_changed_
  std::unique_ptr<TaskGroup> tasks_;
};

/// Where the guest's agent listens for the node `guest` of a share.
std::string relay_path(std::string_view guest);

}  // namespace cl
