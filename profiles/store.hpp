#pragma once

#include <map>
#include <string>
#include <vector>

#include "profiles/paths.hpp"
#include "profiles/profile.hpp"

namespace cl {

/// Settings by key name and text, as flags and the wire carry them.
using Settings = std::map<std::string, std::string>;

/// Names of the profiles that exist, sorted.
std::vector<std::string> list_profiles(const Home& home);

/// The profile as it would run: defaults, then its file, then `settings`. Throws one Error{invalid_config}
/// that names every problem. A profile without a file has the defaults.
Profile load_profile(const ProfilePaths& paths, const Settings& settings);

/// Makes the profile's directories and, where there is none, its commented file.
void create_profile(const ProfilePaths& paths);

}  // namespace cl
