#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "profiles/profile.hpp"

namespace cl {

/// Where a key, or the name of a group of keys, stands in a file; lines and columns from 0.
struct KeyPlace {
  int line = 0, column = 0;
  int value_line = -1, value_column = -1;  ///< -1: no value follows
  bool in_flow = false;                    ///< inside braces
};

struct Parsed {
  Profile profile;
  std::vector<Problem> problems;           ///< where = "FILE:LINE:COLUMN"; a profile with problems is not to be used
  std::map<std::string, KeyPlace> given;   ///< the keys that the file sets, by name
  std::map<std::string, KeyPlace> groups;  ///< "vm" for a "vm:" that stands there, with or without keys
};

/// Reads a profile.yaml on top of `base`. Strict: unknown and repeated keys, wrong kinds of values and broken rules are
/// problems with their place, all of them reported; a missing key keeps the value in `base`. `file` is for messages.
Parsed parse_profile(std::string_view yaml, const std::string& file, const Profile& base = {});

/// The commented file that a new profile starts with; parses to the defaults.
std::string default_profile_yaml();

/// A setting of a file in a format of somebody else's.
struct ForeignSetting {
  std::string name;  ///< "network.dns"; maps are flattened as long as they are not empty
  std::string text;  ///< a scalar as it stands there; a list, or a map that is not flattened, as JSON
  bool is_list = false;
  std::vector<ForeignSetting> items;  ///< of a list: each item's settings under the names "0", "0.location", ...
  int line = 0;                       ///< from 1
};
/// Flattens any YAML map, in its order, but for the maps named in `whole`: true keeps the types of their
/// scalars. Throws Error{invalid_config}
/// with the place when it is none.
std::vector<ForeignSetting> flatten_yaml(std::string_view yaml, const std::string& file,
                                         const std::map<std::string, bool>& whole);

}  // namespace cl
