#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/async.hpp"
#include "src/base/byte_size.hpp"

namespace cl {

/// What runs the guest's instructions. `tcg` is emulation.
enum class Accel { tcg, kvm, hvf };
std::string_view to_string(Accel accel) noexcept;

/// A file that the guest receives as a systemd credential under `name`.
struct Credential {
  std::string name;
  std::filesystem::path file;
};

/// Everything a driver needs to boot one machine. Paths are absolute; files exist.
struct BootPlan {
  std::string name;          ///< shown in process lists
  std::string arch;          ///< "x86_64" or "aarch64"
  Accel accel = Accel::tcg;  ///< already chosen and seen to work
  int cpus = 2;
  ByteSize memory = ByteSize::gib(2);

  std::filesystem::path kernel, initrd;  ///< direct boot; initrd may be empty
  std::string kernel_arguments;          ///< the image's own, before the driver's
  std::filesystem::path root_disk;       ///< qcow2 overlay: /dev/vda
  std::filesystem::path data_disk;       ///< raw: /dev/vdb
  std::vector<Credential> credentials;

  std::filesystem::path run_directory;  ///< 0700; the driver's sockets go here
  std::filesystem::path console_log;    ///< serial console, appended
  std::filesystem::path driver_log;     ///< the hypervisor's own stderr, appended
  int lock_fd = -1;                     ///< inherited by the hypervisor: a kernel lock held as long as it lives
};

/// Why a machine is gone.
struct ExitReason {
  bool clean = false;  ///< the guest powered off, or we asked the hypervisor to quit
  std::string text;    ///< "the guest powered off", "QEMU was killed by signal 9", ...
};

/// A running machine. Destroying the object leaves the machine running: it outlives the daemon.
class Machine {
 public:
  virtual ~Machine() = default;
  virtual pid_t pid() const noexcept = 0;
  /// Unix sockets on the host whose far ends are SSH servers in the guest; one SSH connection at a time each.
  virtual std::vector<std::filesystem::path> ssh_sockets() const = 0;
  /// Until this is called a reboot of the guest ends the machine: one that panics while it boots would go round
  /// for ever. To be called when the guest was reached; then its reboots are its own business.
  virtual asio::awaitable<void> allow_reboot() = 0;
  /// Presses the power button. Returns once that is said, not once it happened.
  virtual asio::awaitable<void> power_off() = 0;
  /// Ends the hypervisor now (SIGKILL). Safe to call twice.
  virtual void kill() noexcept = 0;
  /// Completes when the hypervisor process is gone, whoever caused it. Any number of waiters.
  virtual asio::awaitable<ExitReason> exited() = 0;
};

/// One hypervisor. A driver knows nothing of profiles on disk, SSH sessions or Docker.
class Driver {
 public:
  virtual ~Driver() = default;
  virtual std::string_view name() const noexcept = 0;
  /// Starts the hypervisor; returns when the machine runs (its CPU, not yet its system).
  virtual asio::awaitable<std::unique_ptr<Machine>> boot(BootPlan plan) = 0;
  /// Takes over the machine that an earlier daemon booted with this run directory; null when there is none.
  virtual asio::awaitable<std::unique_ptr<Machine>> attach(std::filesystem::path run_directory) = 0;
};

/// Powers off, and after `grace` kills. Returns when the process is gone; true if it went by itself.
asio::awaitable<bool> stop_machine(Machine& machine, std::chrono::milliseconds grace);

}  // namespace cl
