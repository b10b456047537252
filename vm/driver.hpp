#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/async.hpp"
#include "src/base/byte_size.hpp"
#include "src/base/file_owner.hpp"

namespace cl {

/// What runs the guest's instructions. `tcg` is emulation.
enum class Accel { tcg, kvm, hvf };
std::string_view to_string(Accel accel) noexcept;

/// A file that the guest receives as a systemd credential under `name`.
struct Credential {
  std::string name;
  std::filesystem::path file;
};

/// A host folder that the guest mounts by its tag.
struct BootShare {
  std::string tag;
  std::filesystem::path directory;
  bool read_only = false;
  std::vector<std::filesystem::path> hidden{}, kept{};  ///< in it, without links: not to be read, not to be written
  std::optional<FileOwner> owner{};  ///< whose everything in it is in the guest; on the host it is the server's user's,
                                     ///< or by a server of root's the folder's owner's
};

/// Everything a driver needs to boot one machine. Paths are absolute; files exist.
struct BootPlan {
  std::string name;          ///< shown in process lists
  std::string arch;          ///< "x86_64" or "aarch64"
  Accel accel = Accel::tcg;  ///< already chosen and seen to work
  int cpus = 2;
  bool nested = false;  ///< the CPUs have virtualization
  ByteSize memory = ByteSize::gib(2);

  std::string boot = "direct";           ///< or by the root disk's own loader: "bios" (PCs), "efi"
  std::filesystem::path kernel, initrd;  ///< of a direct boot; initrd may be empty
  std::string kernel_arguments;          ///< the image's own, before the driver's
  std::filesystem::path root_disk;       ///< qcow2 overlay, or raw with DriverTraits::raw_root: /dev/vda
  std::filesystem::path data_disk;       ///< raw: /dev/vdb
  std::filesystem::path seed_disk;       ///< raw, only read, the last disk; may be empty
  std::vector<Credential> credentials;
  /// How far the guest's network card leads: to all that this computer reaches, nowhere (the guest has its addresses,
  /// and nothing that it sends arrives), or there is none.
  enum class Reach { everywhere, nowhere, no_card };
  Reach reach = Reach::everywhere;
  std::string network = "10.0.2.0/24";  ///< the guest's, for drivers that make one: the host is its second address
  std::vector<BootShare> shares;        ///< by virtiofs
  bool confine_shares = true;           ///< a virtiofsd that nothing confines to its folder is not started
  std::filesystem::path share_server;   ///< virtiofsd, for drivers without DriverTraits::share_server
  bool rosetta = false;  ///< the guest finds Apple's translator under the tag "rosetta"; the vz driver alone

  std::filesystem::path run_directory;  ///< 0700; the driver's sockets go here
  std::filesystem::path console_log;    ///< serial console, appended
  std::filesystem::path driver_log;     ///< the hypervisor's own stderr, appended
  int lock_fd = -1;                     ///< inherited by the hypervisor: a kernel lock held as long as it lives
  bool incoming = false;                ///< does not boot, but waits for Machine::load()

  std::string remote;          ///< of a driver without machines of its own: the host, as ssh takes it
  std::filesystem::path lock;  ///< for such a driver: what lock_fd is open on
};

/// Why a machine is gone.
struct ExitReason {
  bool clean = false;    ///< the guest powered off, or we asked the hypervisor to quit
  std::string text;      ///< "the guest powered off", "QEMU was killed by signal 9", ...
  bool crashed = false;  ///< by a fault of its own, so that another try may go well
};

/// What becomes of machines that are suspended. What a driver cannot do is told here and asked nowhere else.
struct Saving {
  std::string fingerprint;  ///< what a saved memory can be loaded into: equal texts only. Empty: it cannot be saved
  std::string why_not;      ///< then a machine can only be paused in memory, for this reason
};

/// In what a driver's machines differ for those who prepare them, set them up and end them.
struct DriverTraits {
  bool own_machine = true;   ///< false: an engine on somebody's host. No image, disk, clock or sleep of it is ours
  bool raw_root = false;     ///< the root disk is a raw file of the machine's own, not an overlay
  bool always_hvf = false;   ///< runs on the host's CPU in any case: nothing has to be probed
  bool weak_button = false;  ///< not every guest hears the power button: its system should be asked first
  std::string share_server;  ///< what serves virtiofs within the hypervisor; empty: a virtiofsd of the host
  std::string host_address;  ///< the host in the network that a plan names if it names none; empty: there is no such
                             ///< network, and the host is whatever is the guest's default gateway
};

/// Unix sockets on the host whose far end is a program's input and output in the guest, an SSH server's in most cases:
/// two, or one twice.
struct SshPort {
  std::filesystem::path to_guest;
  std::filesystem::path from_guest;
};

/// A running machine. Destroying the object leaves the machine running: it outlives the daemon.
class Machine {
 public:
  virtual ~Machine() = default;
  virtual pid_t pid() const noexcept = 0;
  /// Why it runs without Rosetta though its plan wanted that; empty: it does not.
  virtual std::string rosetta_refused() const { return {}; }
  /// The host that it is, as ssh takes it; then it has no ports. Empty: a machine of this computer.
  virtual std::string remote() const { return {}; }
  /// Where SSH servers in the guest are reached; one SSH connection at a time each.
  virtual std::vector<SshPort> ssh_ports() const = 0;
  /// Where a program in the guest finds the ports colima-like.data.in and .out, for one connection at a time; nothing
  /// where a driver offers none.
  virtual std::optional<SshPort> data_port() const { return std::nullopt; }
  /// Pairs of ports that a program in the guest may have to itself, one connection at a time each: the Nth finds
  /// colima-like.share.N.in and .out. Nothing where a driver offers none.
  virtual std::vector<SshPort> share_ports() const { return {}; }
  /// Until this is called a reboot of the guest ends the machine: one that panics while it boots would go round
  /// for ever. To be called when the guest was reached; then its reboots are its own business.
  virtual asio::awaitable<void> allow_reboot() = 0;
  /// Stops the guest's CPUs, and lets them go on. Its time stands still meanwhile, its memory stays in use.
  virtual asio::awaitable<void> pause() = 0;
  virtual asio::awaitable<void> resume() = 0;
  /// Writes the paused guest's memory and devices to `file` and ends the hypervisor. Throws Error{io} when it cannot;
  /// the machine is then still there and can go on.
  virtual asio::awaitable<void> save(std::filesystem::path file) = 0;
  /// For a machine booted with `incoming`: becomes what was saved in `file`, paused. Throws Error{io}.
  virtual asio::awaitable<void> load(std::filesystem::path file) = 0;
  /// Presses the power button. Returns once that is said, not once it happened.
  virtual asio::awaitable<void> power_off() = 0;
  /// Ends the hypervisor now (SIGKILL). A save or load that is under way fails at once, also while the process cannot
  /// end because it waits for a disk. Safe to call twice.
  virtual void kill() noexcept = 0;
  /// Waits until nobody serves one of the plan's shares any more, though the machine runs: its tag, each once;
  /// empty when the machine is gone. One waiter. Whoever uses such a share in the guest waits for ever, until its mount
  /// is aborted.
  virtual asio::awaitable<std::string> share_lost() = 0;
  /// Waits until the hypervisor has stopped the guest's CPUs by itself because it could not write to this host's disk:
  /// why; empty when the machine is gone. resume() lets the guest try again. One waiter.
  virtual asio::awaitable<std::string> blocked() {
    co_await exited();
    co_return std::string();
  }
  /// Completes when the hypervisor process is gone, whoever caused it. Any number of waiters.
  virtual asio::awaitable<ExitReason> exited() = 0;
};

/// One hypervisor. A driver knows nothing of profiles on disk, SSH sessions or Docker.
class Driver {
 public:
  virtual ~Driver() = default;
  virtual std::string_view name() const noexcept = 0;
  virtual DriverTraits traits() const = 0;
  /// Starts the hypervisor; returns when the machine runs (its CPU, not yet its system).
  virtual asio::awaitable<std::unique_ptr<Machine>> boot(BootPlan plan) = 0;
  /// Whether machines of this plan can be saved. Throws Error{host_requirement} as boot() does.
  virtual asio::awaitable<Saving> saving(BootPlan plan) = 0;
  /// Takes over the machine that an earlier daemon booted with this run directory; null when there is none. It may
  /// be paused: resume() lets it go on. One that had not loaded its memory yet is ended.
  virtual asio::awaitable<std::unique_ptr<Machine>> attach(std::filesystem::path run_directory) = 0;
  /// Whether attach() finds a machine though nobody holds its lock: one that has no process on this computer.
  virtual bool is_kept(const std::filesystem::path&) const { return false; }
  /// Whether something still runs for a machine that is gone, or never came to be because its daemon was killed. The
  /// caller holds the profile's lock and has seen that nobody holds the machine's.
  virtual bool has_remains(const std::filesystem::path& run_directory) const = 0;
  /// Ends that; under the same conditions.
  virtual asio::awaitable<void> clean_up(std::filesystem::path run_directory) = 0;
};

/// A locally administered address that is the same for the same name at every boot.
std::string mac_address(std::string_view name);

/// Powers off, and after `grace` kills. Presses the button `again` and again: a guest that boots has nobody yet who
/// hears it. Returns when the process is gone; true if it went by itself.
asio::awaitable<bool> stop_machine(Machine& machine, std::chrono::milliseconds grace,
                                   std::chrono::milliseconds again = std::chrono::seconds(5));

}  // namespace cl
