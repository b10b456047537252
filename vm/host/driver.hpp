#pragma once

#include "vm/driver.hpp"

namespace cl {

/// Engines on hosts that are there already: nothing is booted, and nothing runs here. What a machine is to other
/// drivers is here the decision to use that host, kept in a file of the run directory; it outlives the daemon, and ends
/// by power_off() or kill(), of which the host notices nothing.
class HostDriver : public Driver {
 public:
  std::string_view name() const noexcept override { return "host"; }
  DriverTraits traits() const override;
  /// Uses BootPlan::remote, run_directory, lock and lock_fd alone.
  asio::awaitable<std::unique_ptr<Machine>> boot(BootPlan plan) override;
  /// Never.
  asio::awaitable<Saving> saving(BootPlan plan) override;
  asio::awaitable<std::unique_ptr<Machine>> attach(std::filesystem::path run_directory) override;
  bool is_kept(const std::filesystem::path& run_directory) const override;
  bool has_remains(const std::filesystem::path&) const override { return false; }
  asio::awaitable<void> clean_up(std::filesystem::path) override { co_return; }
};

}  // namespace cl
