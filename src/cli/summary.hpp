#pragma once

#include <boost/json/object.hpp>
#include <string>
#include <vector>

#include "profiles/forwards.hpp"
#include "profiles/paths.hpp"

namespace cl::cli {

/// What `status --json` says of one profile, from files and kernel locks; a daemon is asked only while it cannot write
/// its file. Never fails for a readable name:
/// an unreadable profile has state "broken" with its error and remedy.
boost::json::object describe(const Home& home, const std::string& name);

/// A forward in JSON, as `status` and `forward list` have it.
boost::json::object describe_forward(const ForwardState& state);

/// The items of a profile's forwards: those of its file, and those that its machine has beside them.
std::vector<std::string> forward_items(const ProfilePaths& paths);

/// One of its "platforms", for people: "linux/amd64: qemu-user (rosetta failed: ...)".
std::string platform_text(const boost::json::object& platform);

/// The value of the key `shares` that has `items` and also `more`, as `share add` takes them. Throws Error{usage} or
/// Error{not_found} for what cannot be shared.
std::string with_shares(std::vector<std::string> items, const std::vector<std::string>& more);

}  // namespace cl::cli
