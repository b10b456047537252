#pragma once

#include <string>
#include <string_view>

#include "profiles/keys.hpp"

namespace cl {

/// Changes one key of a profile.yaml by its lines: comments, order and everything else stay byte for byte. What the key
/// had not before is put beside its comment of the default file, else into its group, else at the end; setting such
/// a key and unsetting it gives the same bytes again.
/// Throws Error{invalid_config} when the file or the value is not valid, or when the key stands there in a form that
/// only an editor can change (in braces, over several lines with comments between).
std::string set_in_file(const std::string& yaml, const Key& key, std::string_view value, const std::string& file);

/// Takes the key out, with the comment behind it; a file without the key is returned as it is. Throws as above.
std::string unset_in_file(const std::string& yaml, const Key& key, const std::string& file);

}  // namespace cl
