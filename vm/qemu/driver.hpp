#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "src/base/child.hpp"
#include "vm/driver.hpp"

namespace cl {

/// How long a QEMU may take to answer; tests pass less.
struct QemuTimings {
  /// From exec to the greeting: the main loop runs once all devices are made, 0.1 s on an idle host.
  std::chrono::milliseconds start{20000};
  /// For a QEMU that is running already.
  std::chrono::milliseconds answer{2000};
};

/// Machines under qemu-system-*. Each is a process in a session of its own, found again by its control socket.
class QemuDriver : public Driver {
 public:
  explicit QemuDriver(QemuTimings timings = {}) : timings_(timings) {}

  std::string_view name() const noexcept override { return "qemu"; }
  DriverTraits traits() const override;

  /// Throws Error{host_requirement} without a usable QEMU, and Error{io} with the last lines of its messages
  /// when it ends or hangs before the machine runs. A failed or cancelled boot leaves no process.
  asio::awaitable<std::unique_ptr<Machine>> boot(BootPlan plan) override;

  asio::awaitable<Saving> saving(BootPlan plan) override;

  /// One whose CPUs can never run again is ended, and null returned. Throws Error{busy} when QEMU is there but does not
  /// answer.
  asio::awaitable<std::unique_ptr<Machine>> attach(std::filesystem::path run_directory) override;
  bool has_remains(const std::filesystem::path& run_directory) const override;
  asio::awaitable<void> clean_up(std::filesystem::path run_directory) override;

 private:
  QemuTimings timings_;
};

/// Why QEMU ended, from the reason in its SHUTDOWN event (empty: none came) and, when it was our child, its
/// exit status. Pure. Reasons: QEMU's qapi/run-state.json, ShutdownCause.
ExitReason qemu_exit_reason(std::string_view shutdown_reason, std::optional<ExitStatus> status);

}  // namespace cl
