#pragma once

#include <string>
#include <string_view>

#include "profiles/words.hpp"

/// Whether a machine gets Rosetta, Apple's translator of x86-64 programs, and why not. What the guest does with it is
/// the guest's side.
namespace cl {

/// What the choice depends on; a plain value, so that tests make their own.
struct RosettaFacts {
  std::string driver;     ///< "vz" or "qemu"
  std::string host_arch;  ///< "aarch64": Apple silicon
  std::string guest_arch;
  std::string macos_version;  ///< "15.6"
  bool installed = false;     ///< rosetta_installed()
  std::string guest_kernel;   ///< "6.12.57+deb13-cloud-arm64"; empty: unknown
};

struct RosettaChoice {
  bool use = false;
  std::string why_not;  ///< in words, when it is not used though nobody turned it off
  std::string doubt;    ///< it is used, but may not work: the guest has to try it
};

/// Pure. Throws Error{host_requirement} with the reason and a remedy when it is wished `on` and cannot be had.
RosettaChoice choose_rosetta(RosettaWish wish, const RosettaFacts& facts);

/// Whether the translator for Linux machines is on this host. Always true from macOS 27 on, which has it built in.
bool rosetta_installed(const std::string& macos_version);

}  // namespace cl
