#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "profiles/profile.hpp"

namespace cl {

struct Parsed {
  Profile profile;
  std::vector<Problem> problems;  ///< where = "FILE:LINE:COLUMN"; a profile with problems is not to be used
};

/// Reads a profile.yaml. Strict: unknown and repeated keys, wrong kinds of values and broken rules are
/// problems with their place, all of them reported; a missing key keeps its default. `file` is for messages.
Parsed parse_profile(std::string_view yaml, const std::string& file);

/// The commented file that a new profile starts with; parses to the defaults.
std::string default_profile_yaml();

}  // namespace cl
