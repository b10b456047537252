#pragma once

#include <string>

#include "profiles/paths.hpp"
#include "profiles/store.hpp"
#include "src/base/file_lock.hpp"
#include "src/cli/command.hpp"

namespace cl::cli {

/// The file that a config verb is about: a profile's, or the user's template for new ones.
struct ConfigFile {
  ProfilePaths paths;
  bool is_template = false;
  std::filesystem::path file;  ///< where its bytes are: behind a symbolic link, the file that it leads to

  /// What is there now; what a new one would hold when it does not exist yet.
  std::string read() const;
  /// Throws Error{invalid_config} with every problem of `yaml`, also when it would need another machine than the
  /// one that is there. `name` is what messages call it.
  Layered check(const std::string& yaml, const std::string& name) const;
  /// Checks, then replaces the file. A profile that does not exist is made.
  Layered install(const std::string& yaml) const;
  /// Held while one reads, changes and installs. Error{busy} when somebody else does for 2 s.
  FileLock lock() const;
};

ConfigFile config_file(const Invocation& call);

/// Tells what a running machine needs for the new settings, on stderr; nothing when it needs nothing.
void tell_what_to_do(const ConfigFile& config, const Layered& wanted);

/// `text` with "***" for user and password in each URL of it.
std::string without_passwords(std::string text);

}  // namespace cl::cli
