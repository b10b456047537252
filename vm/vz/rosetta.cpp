#include "vm/vz/rosetta.hpp"

#include <array>
#include <cstdio>
#include <filesystem>
#include <optional>

#include "src/base/error.hpp"
#include "src/base/host.hpp"

namespace cl {
namespace {

/// Apple: "macOS 27 directly integrates support for Intel binary translation, without needing to install Rosetta"
/// (developer.apple.com, About the Rosetta translation environment).
constexpr int built_in_since = 27;

struct Refusal {
  std::string why, remedy;
};

/// Guest kernels that Rosetta of some macOS releases does not run on. It reads the auxiliary vector and the vDSO of its
/// process and gives up on what it does not know.
struct KernelRule {
  int major, minor;              ///< kernels from this one on
  int macos_major, macos_minor;  ///< are not for releases before this one
  bool certain;                  ///< false: only some of these releases fail
  std::string_view why;
};
constexpr std::array rules{
    // lima-vm/lima#3592, containers/podman-machine-os#98; still so on macOS 15.7.3, good on 26
    KernelRule{6, 13, 26, 0, true,
               "Rosetta before macOS 26 ends with 'unhandled auxillary vector type 29' on Linux 6.13 and newer"},
    // utmapp/UTM#5567, abiosoft/colima#926: macOS 13.5 to 13.6.2; later releases of 14 are good
    KernelRule{6, 3, 14, 0, true,
               "Rosetta of macOS 13 ends with 'unhandled auxillary vector type 28' on Linux 6.3 and newer"},
    // utmapp/UTM#6771, lima-vm/lima#2891: depends on how the kernel was linked, seen up to macOS 15.3.2
    KernelRule{6, 11, 15, 4, false,
               "Rosetta before macOS 15.4 may end with 'Failed to find vdso DT_HASH' on Linux 6.11 and newer"},
};

std::optional<Refusal> refusal(const RosettaFacts& facts, std::string& doubt) {
  if (facts.driver != "vz")
    return Refusal{"Rosetta runs only in machines of Apple's framework, and this is a " + facts.driver + " machine",
                   "set vm.driver to vz"};
  if (facts.host_arch != "aarch64")
    return Refusal{"Rosetta is for Apple silicon, and this Mac has an Intel CPU",
                   "nothing is needed: amd64 is this Mac's own architecture"};
  if (facts.guest_arch != "aarch64")
    return Refusal{"Rosetta translates in aarch64 machines alone, and this is a " + facts.guest_arch + " one",
                   "use 'arch: host'"};
  if (!at_least(facts.macos_version, 13))
    return Refusal{"Rosetta for Linux came with macOS 13, and this is macOS " + facts.macos_version, "update macOS"};
  if (!facts.installed)
    return Refusal{"Rosetta is not installed on this Mac", "softwareupdate --install-rosetta --agree-to-license"};
  for (const KernelRule& rule : rules) {
    if (!at_least(facts.guest_kernel, rule.major, rule.minor)) continue;  // nor when the kernel is unknown
    if (at_least(facts.macos_version, rule.macos_major, rule.macos_minor)) continue;
    const std::string why = std::string(rule.why) + "; this is macOS " + facts.macos_version +
                            " with a guest of Linux " + facts.guest_kernel;
    if (rule.certain)
      return Refusal{why, "update macOS, or use an image with an older kernel (Debian 12 has 6.1, Debian 13 has 6.12)"};
    doubt = why;
  }
  return std::nullopt;
}

}  // namespace

RosettaChoice choose_rosetta(RosettaWish wish, const RosettaFacts& facts) {
  RosettaChoice choice;
  if (wish == RosettaWish::off) return choice;
  if (auto refused = refusal(facts, choice.doubt)) {
    if (wish == RosettaWish::on)
      throw Error(Errc::host_requirement, "Rosetta cannot be used", refused->remedy + ", or set vm.rosetta to auto")
          .because(refused->why);
    choice.doubt.clear();
    choice.why_not = std::move(refused->why);
    return choice;
  }
  choice.use = true;
  return choice;
}

bool rosetta_installed(const std::string& macos_version) {
  if (at_least(macos_version, built_in_since)) return true;
  std::error_code ec;
  return std::filesystem::exists("/Library/Apple/usr/libexec/oah/RosettaLinux/rosetta", ec);
}

}  // namespace cl
