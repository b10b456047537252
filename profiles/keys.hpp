#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "profiles/profile.hpp"
#include "src/base/host.hpp"

namespace cl {

/// One setting: the same row serves the file, the command line's flags and the help.
struct Key {
  std::string_view name;     ///< in the file ("vm.accel" is accel: under vm:) and in messages
  std::string_view flag;     ///< of `start`, without dashes
  std::string_view meaning;  ///< one line for help and docs
  /// Reads `text` into the profile. Says what is wrong with the text, or nothing. Knows no host.
  std::optional<std::string> (*set)(Profile&, std::string_view text);
  /// The value as the file would say it.
  std::string (*get)(const Profile&);
};

/// All keys, in the order of the file.
std::span<const Key> keys();
/// The row, or null.
const Key* find_key(std::string_view name);

/// What this host cannot give: more CPUs or memory than it has, an accelerator of another system.
std::vector<Problem> check(const Profile& profile, const HostFacts& host);

/// "x86_64" or "aarch64", with "host" resolved.
std::string resolved_arch(const Profile& profile, const HostFacts& host);

/// The candidate nearest to `word` for a "did you mean", or empty when none is near (edit distance <= 2,
/// or a third of the word).
std::string nearest(std::string_view word, std::span<const std::string_view> candidates);

}  // namespace cl
