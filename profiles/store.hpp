#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "profiles/keys.hpp"
#include "profiles/paths.hpp"
#include "profiles/profile.hpp"
#include "profiles/state.hpp"
#include "src/base/error.hpp"

namespace cl {

/// Settings by key name and text, as flags and the wire carry them.
using Settings = std::map<std::string, std::string>;

/// Names of the profiles that exist, sorted.
std::vector<std::string> list_profiles(const Home& home);

/// Where a value comes from; a later one goes over an earlier one.
enum class Source { built_in, template_file, file, environment, flag };
std::string_view to_string(Source source);

/// A profile as it would run, and why.
struct Layered {
  Profile profile;
  std::map<std::string, Source> sources;  ///< of every key
  /// The source of a key by its name.
  Source source(std::string_view key) const { return sources.at(std::string(key)); }
};

/// Defaults, then the template that the profile was made with (for a new one: the user's), then its file, then the two
/// sets of settings. Throws one Error{invalid_config} that names every problem, also what this host cannot give.
Layered load_layers(const ProfilePaths& paths, const Settings& environment, const Settings& flags);

/// The same for a file that is to replace the profile's: nothing is read from the profile's own.
Layered check_layers(const ProfilePaths& paths, const std::string& yaml, const std::string& file);

/// The profile of load_layers() with `settings` as flags.
Profile load_profile(const ProfilePaths& paths, const Settings& settings);

/// What the environment sets: COLIMA_LIKE_CPUS, COLIMA_LIKE_VM_ACCEL, ... for each key.
Settings environment_settings();

/// What keeps a profile from becoming `wanted`: keys that need another machine than the one that is there, and a data
/// disk that would have to shrink; `last` is what the machine was made with. The disk counts only when it was asked
/// for in the file, the environment or a flag: a default never shrinks.
/// Throws Error{invalid_config} that says for each what would be lost.
void refuse_recreation(const ProfilePaths& paths, const Profile& last, const Layered& wanted);

/// The profile that verbs mean when none is named, and the one before it ("use -").
struct CurrentProfile {
  std::string name = "default";
  std::string previous;  ///< empty when there was none
};
/// A file that names no profile counts as none.
CurrentProfile current_profile(const Home& home);
/// Atomic; what was current becomes the previous one.
void make_current(const Home& home, const std::string& name);
/// After a profile is gone or has another name: nothing points to it any more.
void forget_current(const Home& home, const std::string& name);

/// One Error{invalid_config} with all problems as its cause.
Error invalid(const std::string& what, const std::vector<Problem>& problems, const std::string& remedy);

/// Makes the profile's directories and, where there is none, its commented file and its copy of the user's template.
void create_profile(const ProfilePaths& paths);

}  // namespace cl
