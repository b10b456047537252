#pragma once

#include <filesystem>
#include <optional>
#include <string>

/// Questions about paths that are answered without a look at the disk.
namespace cl {

/// $HOME, else the home that the system has for this user; nothing when neither is an absolute path.
std::optional<std::filesystem::path> home_directory();
/// The same, or "/".
std::filesystem::path user_home();

/// The name that the system has for this user, else $USER: a statically linked program sees no users of a directory
/// service. Empty when there is neither.
std::string user_name();

/// "~" and what begins with "~/" below `home`; everything else as it is.
std::filesystem::path expand_home(const std::string& text, const std::filesystem::path& home = user_home());

/// Whether `path` is `folder` or is in it, by their names. "/a/" and "/a" are the same folder.
bool is_below(const std::filesystem::path& path, const std::filesystem::path& folder);

}  // namespace cl
