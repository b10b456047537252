#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <string_view>

#include "vm/driver.hpp"

namespace cl {

/// How long a vfkit may take; tests pass less.
struct VzTimings {
  /// From exec until the machine runs. vfkit itself gives up after five seconds.
  std::chrono::milliseconds start{20000};
  /// For its sockets to the guest, once the machine runs: it only warns when it cannot make them.
  std::chrono::milliseconds sockets{5000};
  /// For an answer of a vfkit that is running already.
  std::chrono::milliseconds answer{5000};
};

/// Machines of Apple's Virtualization framework, each under a vfkit in a session of its own, found again by its REST
/// socket.
class VzDriver : public Driver {
 public:
  explicit VzDriver(VzTimings timings = {}) : timings_(timings) {}

  std::string_view name() const noexcept override { return "vz"; }
  DriverTraits traits() const override;

  /// Throws Error{host_requirement} without a usable vfkit, Error{invalid_config} for what it cannot do, and Error{io}
  /// with the last lines of its messages when it ends or hangs before the machine runs. When it ends by itself and had
  /// a Rosetta device it is tried once more without: Machine::rosetta_refused() then says why. A failed or cancelled
  /// boot leaves no process.
  asio::awaitable<std::unique_ptr<Machine>> boot(BootPlan plan) override;

  /// Never: vfkit has no word for it, and makes another machine identity at each start, which a saved one must have.
  asio::awaitable<Saving> saving(BootPlan plan) override;

  /// Throws Error{busy} when vfkit is there but does not answer.
  asio::awaitable<std::unique_ptr<Machine>> attach(std::filesystem::path run_directory) override;
  bool has_remains(const std::filesystem::path& run_directory) const override;
  asio::awaitable<void> clean_up(std::filesystem::path run_directory) override;

 private:
  struct Attempt;
  asio::awaitable<Attempt> start(const BootPlan& plan, std::filesystem::path vfkit);

  VzTimings timings_;
};

}  // namespace cl
