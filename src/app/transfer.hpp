#pragma once

#include <boost/json/object.hpp>
#include <filesystem>
#include <string>

#include "profiles/paths.hpp"
#include "src/base/async.hpp"

/// What happens to a profile as a whole while it is stopped, in the process of the command; formats in docs/files.md.
/// Only settings and the containers' data are in it; the root disk and the keys are made anew.
namespace cl {

/// Settings and data of `from` as the new profile `to`, sparse like the original. A crash leaves no half profile.
/// Throws Error{busy} unless `from` is stopped, Error{invalid_config} when `to` exists.
void clone_profile(const ProfilePaths& from, const ProfilePaths& to);

/// Writes `file`, which must not exist, with a checksum over all of it: {"bytes": its size}. Throws as above.
boost::json::object export_profile(const ProfilePaths& from, const std::filesystem::path& file);

/// Makes a profile of an exported file, under `name` or, if that is empty, its own. Nothing is there unless the
/// checksum is right: {"name", "asks": [{"key", "value"}]}. "asks" is what its settings want of this host (folders,
/// scripts, proxies, forwards ...): taken over only with `trust`, for the file may be a stranger's; without it the
/// profile shares no folder. Throws Error{invalid_config} for a name that is taken, Error{io} for a damaged file.
boost::json::object import_profile(const Home& home, std::string name, const std::filesystem::path& file, bool trust);

/// Makes the profile's docker context, running or not, and makes it the current one; its name, or empty without a
/// docker CLI. Throws Error{host_requirement} with the CLI's own words when it fails.
asio::awaitable<std::string> use_context(ProfilePaths paths);
/// Removes the profile's docker context, if there is one.
asio::awaitable<void> remove_context(ProfilePaths paths);

}  // namespace cl
