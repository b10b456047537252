#pragma once

#include <boost/json/object.hpp>
#include <string>

#include "profiles/paths.hpp"

namespace cl::cli {

/// What `status --json` says of one profile, from files and kernel locks; a daemon is asked only while it cannot write
/// its file. Never fails for a readable name:
/// an unreadable profile has state "broken" with its error and remedy.
boost::json::object describe(const Home& home, const std::string& name);

/// One of its "platforms", for people: "linux/amd64: qemu-user (rosetta failed: ...)".
std::string platform_text(const boost::json::object& platform);

}  // namespace cl::cli
