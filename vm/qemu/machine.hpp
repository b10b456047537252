#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "src/base/child.hpp"
#include "vm/driver.hpp"
#include "vm/qemu/qmp_client.hpp"
#include "vm/qemu/virtiofsd.hpp"

namespace cl {

/// What QEMU's events told since the connection was made.
struct QemuNews {
  explicit QemuNews(const asio::any_io_executor& executor) : changed(executor) {}
  std::string shutdown_reason;  ///< of the SHUTDOWN event; empty until it came
  std::string migration;        ///< status of the last MIGRATION event: what QEMU calls saving and loading
  std::string blocked;          ///< why QEMU stopped the guest at an error of a disk; empty while it has not
  Notifier changed;             ///< of `migration` and `blocked`, and when the process is gone
};

/// The event handler that fills `news`.
QmpClient::OnEvent record_news(std::shared_ptr<QemuNews> news);

/// A running QEMU, ours by birth (`child`) or taken over (`child` empty, then only its pid is known).
class QemuMachine : public Machine {
 public:
  /// `pid` must be alive: call it while the control connection is open. The servers of shares are ours by birth, or
  /// found by their locks.
  QemuMachine(const asio::any_io_executor& executor, std::filesystem::path run_directory, pid_t pid,
              std::optional<Child> child, std::unique_ptr<QmpClient> control, std::shared_ptr<QemuNews> news,
              std::vector<ShareServer> servers);
  ~QemuMachine() override;

  pid_t pid() const noexcept override;
  std::vector<SshPort> ssh_ports() const override;
  std::optional<SshPort> data_port() const override;
  std::vector<SshPort> share_ports() const override;
  asio::awaitable<void> allow_reboot() override;
  asio::awaitable<void> pause() override;
  asio::awaitable<void> resume() override;
  asio::awaitable<void> save(std::filesystem::path file) override;
  asio::awaitable<void> load(std::filesystem::path file) override;
  asio::awaitable<void> power_off() override;
  void kill() noexcept override;
  asio::awaitable<std::string> share_lost() override;
  asio::awaitable<std::string> blocked() override;
  asio::awaitable<ExitReason> exited() override;

 private:
  asio::awaitable<void> save_paused(std::filesystem::path file);
  asio::awaitable<void> load_paused(std::filesystem::path file);
  asio::awaitable<void> set_up_migration(bool without_memory);
  asio::awaitable<void> migrate(std::string command, std::filesystem::path file, int memory);

  struct State;
  std::shared_ptr<State> state_;  ///< shared with the task that watches the process
};

}  // namespace cl
