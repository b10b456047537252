#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/child.hpp"
#include "vm/driver.hpp"

namespace cl {

/// What is known of a running vfkit beside its process.
struct VzFacts {
  std::filesystem::path run_directory;
  std::filesystem::path console_log;  ///< tells whether the guest powered off; empty: unknown
  std::string rosetta_refused;
  std::chrono::milliseconds answer;  ///< how long vfkit may take for one
};

/// A running vfkit, ours by birth (`child`) or taken over (`child` empty, then only its pid is known).
class VzMachine : public Machine {
 public:
  /// `pid` must be alive.
  VzMachine(const asio::any_io_executor& executor, VzFacts facts, pid_t pid, std::optional<Child> child);
  ~VzMachine() override;

  pid_t pid() const noexcept override;
  std::string rosetta_refused() const override;
  /// One socket, twice: each connection to it is one to the guest's sshd.
  std::vector<SshPort> ssh_ports() const override;
  /// Nothing to allow: vfkit has no word for it, and a reboot is always the guest's own business.
  asio::awaitable<void> allow_reboot() override;
  asio::awaitable<void> pause() override;
  asio::awaitable<void> resume() override;
  /// Always throws: see VzDriver::saving().
  asio::awaitable<void> save(std::filesystem::path file) override;
  asio::awaitable<void> load(std::filesystem::path file) override;
  /// Throws only when vfkit is gone: a guest that is on its way down may have the button refused.
  asio::awaitable<void> power_off() override;
  /// Not HardStop, which asks vfkit to do the same, and not SIGTERM, after which vfkit may hang: with it the machine
  /// ends.
  void kill() noexcept override;
  /// The framework serves its shares itself: none is lost before the machine.
  asio::awaitable<std::string> share_lost() override;
  asio::awaitable<ExitReason> exited() override;

 private:
  asio::awaitable<void> wait_for(std::string state);

  struct State;
  std::shared_ptr<State> state_;  ///< shared with the task that watches the process
};

/// Why vfkit ended, from its exit status, if it was our child, and the end of the guest's console. Pure.
ExitReason vfkit_exit_reason(std::optional<ExitStatus> status, std::string_view console_end);

}  // namespace cl
