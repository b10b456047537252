#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "profiles/words.hpp"
#include "src/base/async.hpp"
#include "src/base/host.hpp"
#include "vm/driver.hpp"

namespace cl {

struct AccelRequest {
  AccelWish wish = AccelWish::automatic;
  std::string arch;  ///< the guest's
  HostFacts host;
  std::filesystem::path kernel;      ///< what the probe boots; of an image that boots by itself empty,
  std::filesystem::path disk = {};   ///< and then its root disk, which is not written to,
  std::string boot = "direct";       ///< in its way: "bios" or "efi"
  std::string image_digest;          ///< names that kernel
  std::filesystem::path cache_file;  ///< JSON of ours; its directory exists
  std::function<void(std::string_view)> progress = {};  ///< called when a probe has to be made

  std::filesystem::path kvm_device = "/dev/kvm";
  /// A guest kernel reaches its end in some 2 s under KVM; where it does not in this time, it never will.
  std::chrono::milliseconds limit{8000};
  /// The same for a disk, whose firmware and boot loader take their time too.
  std::chrono::milliseconds disk_limit{40000};
};

struct AccelChoice {
  Accel accel = Accel::tcg;
  std::string why;  ///< for `status`: "KVM ran a Linux kernel to its end", "... so the guest is emulated"
};

/// Chooses what runs the guest. Hardware only after the guest's own kernel was seen to reach its end on it (the
/// panic for want of a root disk) and QEMU to end: /dev/kvm can be there, create VMs, and still run no Linux.
/// An image without a kernel file is booted from its own disk until its kernel hands over to the system.
/// The verdict is cached under all that could change it. Takes no time for a foreign architecture, without
/// the device, or with a cached verdict.
/// Throws Error{host_requirement} when a wish for kvm or hvf cannot be fulfilled; the wish tcg is always.
asio::awaitable<AccelChoice> choose_accel(AccelRequest request);

/// Why the device cannot be used at all, in words for a user; empty when it can be opened.
std::string kvm_problem(const std::filesystem::path& device);

/// What the output of a probe means. Pure.
enum class ProbeVerdict {
  usable,
  ended_early,  ///< QEMU ended before the kernel did: it cannot run here
  no_end        ///< nothing reached its end in the time
};
ProbeVerdict judge_probe(std::string_view console, bool ended);

/// Whether a line of the console says that a kernel which boots from its own disk has come to its end. Pure.
bool kernel_is_up(std::string_view console_line);

}  // namespace cl
