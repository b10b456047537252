#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "src/base/child.hpp"
#include "vm/driver.hpp"
#include "vm/qemu/qmp_client.hpp"

namespace cl {

/// What QEMU's events told since the connection was made.
struct QemuNews {
  std::string shutdown_reason;  ///< of the SHUTDOWN event; empty until it came
};

/// The event handler that fills `news`.
QmpClient::OnEvent record_news(std::shared_ptr<QemuNews> news);

/// A running QEMU, ours by birth (`child`) or taken over (`child` empty, then only its pid is known).
class QemuMachine : public Machine {
 public:
  /// `pid` must be alive: call it while the control connection is open.
  QemuMachine(const asio::any_io_executor& executor, std::filesystem::path run_directory, pid_t pid,
              std::optional<Child> child, std::unique_ptr<QmpClient> control, std::shared_ptr<QemuNews> news);
  ~QemuMachine() override;

  pid_t pid() const noexcept override;
  std::vector<std::filesystem::path> ssh_sockets() const override;
  asio::awaitable<void> allow_reboot() override;
  asio::awaitable<void> power_off() override;
  void kill() noexcept override;
  asio::awaitable<ExitReason> exited() override;

 private:
  struct State;
  std::shared_ptr<State> state_;  ///< shared with the task that watches the process
};

}  // namespace cl
