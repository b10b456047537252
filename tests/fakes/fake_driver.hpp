#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "vm/driver.hpp"

namespace cl::test {

/// How the machines of a FakeDriver behave; may be changed between calls.
struct FakeBehaviour {
  std::chrono::milliseconds boot_time{0};
  std::optional<Error> boot_failure;
  bool ignores_power_off = false;  ///< the guest never reacts to its power button
  int deaf_presses = 0;            ///< so often it does not hear it
  bool power_off_fails = false;    ///< the hypervisor does not answer
  std::chrono::milliseconds power_off_time{0};
  std::optional<Error> save_failure, load_failure;
  std::chrono::milliseconds notice_after{0};  ///< so long after its end that is told
  std::string hangs_at;     ///< any call of Driver and Machine, by its name: it never returns while the machine runs
  std::string cannot_save;  ///< why its machines can only be paused
};

/// A hypervisor in memory. Machines live on in the driver when their Machine object goes, as real ones do,
/// keyed by run directory; attach() finds them there.
class FakeDriver : public Driver {
 public:
  /// One hypervisor process that was started.
  struct Process;

  explicit FakeDriver(FakeBehaviour behaviour = {}) : behaviour(behaviour) {}

  std::string_view name() const noexcept override { return "fake"; }
  DriverTraits traits() const override { return {}; }
  asio::awaitable<std::unique_ptr<Machine>> boot(BootPlan plan) override;
  asio::awaitable<Saving> saving(BootPlan plan) override;  // as `cannot_save` says
  asio::awaitable<std::unique_ptr<Machine>> attach(std::filesystem::path run_directory) override;
  bool has_remains(const std::filesystem::path&) const override { return false; }
  asio::awaitable<void> clean_up(std::filesystem::path) override { co_return; }

  /// Ends the machine with this run directory; does nothing when there is none.
  void crash(const std::filesystem::path& run_directory, ExitReason reason = {false, "QEMU was killed by signal 9"});
  bool is_running(const std::filesystem::path& run_directory) const;
  /// Its guest's CPUs stand still.
  bool is_paused(const std::filesystem::path& run_directory) const;
  /// The hypervisor stops the guest since this host's disk is full, until it is told to resume.
  void block(const std::filesystem::path& run_directory, std::string why);

  FakeBehaviour behaviour;
  std::vector<std::string> calls;    ///< "boot NAME", "attach", "power_off", "kill", "pause", "save", ..., in order
  std::vector<BootPlan> plans;       ///< of every boot() that began
  std::vector<SshPort> ssh_ports;    ///< what machines offer
  std::optional<SshPort> data_port;  ///< likewise

 private:
  std::shared_ptr<Process> find(const std::filesystem::path& run_directory) const;
  std::vector<std::shared_ptr<Process>> processes_;
};

}  // namespace cl::test
