#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "profiles/state.hpp"

/// Programs of other architectures in the guest: what runs them (the kernel, qemu-user, Rosetta), and whether one was
/// seen to run. The guest's half is scripts/platforms.sh.
namespace cl {

/// One platform of container images.
struct Platform {
  std::string_view name;  ///< as docker calls it: "linux/arm64"
  std::string_view arch;  ///< as qemu-user calls it: "aarch64"
  int bits;               ///< 32 or 64
  bool big_endian;
  std::uint16_t machine;     ///< e_machine of its ELF files
  std::uint32_t flags;       ///< e_flags
  std::string_view code;     ///< machine code: prints uname's machine name and a newline, and exits with 0
  std::string_view runs_on;  ///< the machine whose CPUs may run it besides its own, or empty
};
std::span<const Platform> platforms();
/// The row whose arch is `arch`; throws Error{internal}.
const Platform& platform_of(std::string_view arch);

/// A whole static program for Linux, a few hundred bytes: an ELF header, one segment, the code.
std::string tiny_program(const Platform& platform);

/// What binfmt_misc recognizes the platform's programs by: "magic:mask", each byte as \xNN.
std::string binfmt_magic(const Platform& platform);

/// One line of /usr/lib/binfmt.d or of /proc/sys/fs/binfmt_misc/register. F opens the interpreter at once, so that it
/// is there in every container; O and C keep the rights of set-uid programs; P keeps argv[0].
std::string binfmt_line(const Platform& platform, std::string_view name, std::string_view interpreter,
                        std::string_view flags);

/// What the guest's half of this needs to know.
struct PlatformPlan {
  std::string machine;          ///< architecture of the guest
  bool rosetta = false;         ///< it has a share tagged "rosetta"
  std::string rosetta_why_not;  ///< shown with linux/amd64 when it has none though one is wanted; else empty
};

/// The text of a shell script that defines begin_platforms and end_platforms for provision.sh.
std::string platforms_script(const PlatformPlan& plan);

/// "@platform NAME TRANSLATOR works|fails WHY" as end_platforms prints it; false for any other line. Pure.
bool read_platform(std::string_view line, PlatformState& into);

}  // namespace cl
