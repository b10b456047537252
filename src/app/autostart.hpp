#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "profiles/paths.hpp"
#include "src/app/doctor.hpp"
#include "src/base/async.hpp"

/// A profile that starts when its user logs in: by a unit of the user's systemd, or on macOS by a launch agent. Both
/// end the machine with the session: by suspending it, or where that would only pause it by powering it off.
namespace cl {

/// What the system is told: a program by its whole path, for one profile of one home.
struct AutostartJob {
  std::filesystem::path program;
  std::string profile;
  std::vector<std::pair<std::string, std::string>> environment;  ///< PATH, COLIMA_LIKE_HOME, COLIMA_LIKE_CACHE ...
  std::filesystem::path log;                                     ///< of a launch agent; systemd has its journal
  bool operator==(const AutostartJob&) const = default;
};

/// The text of a unit for systemd, and of a property list for launchd. Pure.
std::string systemd_unit(const AutostartJob& job);
std::string launch_agent(const AutostartJob& job);
/// The job that such a text is for, as far as it can be read. Pure.
AutostartJob parse_systemd_unit(std::string_view text);
AutostartJob parse_launch_agent(std::string_view text);

/// What is there for a profile.
struct Autostart {
  std::string by;              ///< "systemd" or "launchd"
  std::filesystem::path file;  ///< the unit or property list, whether or not it is there
  bool enabled = false;
  bool at_boot = false;  ///< before anybody logs in: the user lingers
  AutostartJob job;      ///< of the file, when it is enabled
  std::string problem;   ///< why it would not start what is meant; empty when it would
  std::string remedy;
};

/// The system's place for `profile`, and what is in it. Reads files alone.
Autostart observe_autostart(const Home& home, const std::string& profile);
/// Whether its program and its profile are there, and are of `home`. Fills in `problem` and `remedy`.
void judge_autostart(Autostart& seen, const Home& home, const std::filesystem::path& program);

/// Writes the file and tells the system of it; `runs`, when the machine runs already, so that it is suspended at the
/// end of this very session, too. Returns a note for the user, or "". Throws Error{host_requirement} where nothing
/// starts programs at a login, Error{busy} when the profile of that name in another home has the place.
asio::awaitable<std::string> enable_autostart(Home home, std::string profile, bool runs);
/// Removes it; the machine goes on. False when there was none, or it is another home's.
asio::awaitable<bool> disable_autostart(Home home, std::string profile);

/// For `doctor`: nothing when the profile does not start by itself.
std::optional<Finding> check_autostart(const Home& home, const std::string& profile);

}  // namespace cl
