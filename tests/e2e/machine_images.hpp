#pragma once

#include <fstream>
#include <string>

#include "provision/platforms.hpp"
#include "tests/e2e/sandbox.hpp"

// Images of each platform that hold one program, which prints the machine that it runs on. No registry has a part in
// it.

namespace cl::e2e {

inline void write_program(const Platform& platform, const fs::path& file) {
  std::ofstream(file, std::ios::binary) << tiny_program(platform);
  fs::permissions(file, fs::perms::owner_all | fs::perms::group_read | fs::perms::group_exec | fs::perms::others_read |
                            fs::perms::others_exec);
}

inline std::string tiny_image(const Platform& platform) { return "tiny-" + std::string(platform.arch); }

/// An image with /machine.
inline void import_tiny(Sandbox& box, const Platform& platform) {
  const fs::path tree = box.root() / tiny_image(platform);
  fs::create_directory(tree);
  write_program(platform, tree / "machine");
  const std::string tar = tree.string() + ".tar";
  ASSERT_OK(box.run({"tar", "-C", tree.string(), "-cf", tar, "."}));
  ASSERT_OK(box.docker({"import", "--platform", std::string(platform.name), tar, tiny_image(platform)}));
}

/// What /machine may print there: the kernel calls its 32-bit side by its own name, and emulators choose a model.
inline bool is_machine(const Platform& platform, std::string_view printed) {
  if (platform.arch == "i386") return printed == "x86_64\n" || (printed.size() == 5 && printed.ends_with("86\n"));
  if (platform.arch == "arm") return printed.starts_with("arm") || printed == "aarch64\n";
  return printed == std::string(platform.arch) + "\n";
}

}  // namespace cl::e2e
