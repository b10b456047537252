#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "docker/port_forward.hpp"
#include "src/daemon/service.hpp"

namespace cl {

struct Core;

/// The ports that containers publish, on this host.
class Ports : public Service {
 public:
  explicit Ports(Core& core) : core_(core) {}

  std::string_view name() const noexcept override { return "published ports"; }
  asio::awaitable<void> open() override;
  /// The profile's rules, which may have changed, and the ports of containers that came back by themselves.
  asio::awaitable<void> ready() override;
  asio::awaitable<void> close() override;
  void describe(State& state) const override;

  /// Returns when the ports of what runs are open, or known to fail.
  asio::awaitable<void> reconciled();
  /// Whether the engine tells its events.
  bool engine_answers() const noexcept { return forward_ && forward_->engine_answers(); }
  /// Nothing when there are none to open: the runtime is not one of Docker's kind, or no machine runs.
  std::optional<std::vector<PortStatus>> list() const;
  /// As PortForward::taken().
  std::string taken(std::string_view container) const { return forward_ ? forward_->taken(container) : std::string(); }
  PortCounters counters() const { return forward_ ? forward_->counters() : PortCounters{}; }

 private:
  Core& core_;
  std::unique_ptr<PortForward> forward_;
};

}  // namespace cl
