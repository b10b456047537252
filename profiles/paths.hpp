#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace cl {

/// Where the product keeps its files for this user.
struct Home {
  std::filesystem::path profiles;  ///< $COLIMA_LIKE_HOME, else ~/.colima-like
  std::filesystem::path cache;     ///< $COLIMA_LIKE_CACHE, else the system's cache directory + colima-like
};

/// From the environment; throws Error{host_requirement} without a home directory. Creates nothing.
Home find_home();

/// Every path of one profile; the only place that knows their names.
struct ProfilePaths {
  std::string name;
  std::filesystem::path directory, config, state, lock, machine_lock, docker_socket;
  std::filesystem::path config_lock;    ///< held while profile.yaml is changed
  std::filesystem::path user_template;  ///< the user's template for new profiles; the same for all
  std::filesystem::path own_template;   ///< the template as it was when this profile was made
  std::filesystem::path run_directory, control_socket;
  std::filesystem::path log_directory, daemon_log, console_log, driver_log;
  std::filesystem::path root_disk, data_disk, keys_directory;
  std::filesystem::path seed_disk;      ///< of a machine on a distribution's image, see vm/seed.hpp
  std::filesystem::path raw_root_disk;  ///< in root_disk's place, for a driver that reads raw files alone
  std::filesystem::path saved_directory, saved_marker;  ///< of a suspended machine, see vm/saved_machine.hpp
};

/// Throws Error{invalid_config} for a name that breaks the rules (1-32 of a-z 0-9 - _, first a letter or
/// digit: it becomes a folder, a host name and a Docker context), or when a socket's path would be
/// longer than the system allows.
ProfilePaths profile_paths(const Home& home, std::string_view name);

/// The machine's own name: "colima-like", "colima-like-NAME".
std::string host_name(std::string_view profile);

}  // namespace cl
