#include "profiles/paths.hpp"

#include <algorithm>
#include <cstdlib>

#include "src/base/file.hpp"
#include "src/base/path.hpp"
#include "src/base/platform.hpp"

namespace cl {
namespace {

std::filesystem::path from_environment(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return {};
  return absolute_path(value).lexically_normal();
}

std::filesystem::path required_home() {
  auto home = home_directory();
  if (!home)
    throw Error(Errc::host_requirement, "there is no home directory",
                "set HOME, or COLIMA_LIKE_HOME and COLIMA_LIKE_CACHE");
  return std::move(*home);
}

void check_name(std::string_view name) {
  auto plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  const bool good = !name.empty() && name.size() <= 32 && plain(name.front()) &&
                    std::all_of(name.begin(), name.end(), [&](char c) { return plain(c) || c == '-' || c == '_'; });
  if (!good)
    throw Error(Errc::invalid_config, "'" + std::string(name) + "' cannot be a profile's name",
                "use 1 to 32 of a-z, 0-9, '-' and '_', starting with a letter or digit");
}

}  // namespace

Home find_home() {
  Home home;
  home.profiles = from_environment("COLIMA_LIKE_HOME");
  if (home.profiles.empty()) home.profiles = required_home() / ".colima-like";
  home.cache = from_environment("COLIMA_LIKE_CACHE");
  if (!home.cache.empty()) return home;
#ifdef __APPLE__
  home.cache = required_home() / "Library" / "Caches" / "colima-like";
#else
  const auto xdg = from_environment("XDG_CACHE_HOME");
  home.cache = (xdg.empty() ? required_home() / ".cache" : xdg) / "colima-like";
#endif
  return home;
}

ProfilePaths profile_paths(const Home& home, std::string_view name) {
  check_name(name);
  ProfilePaths paths;
  paths.name = name;
  paths.directory = home.profiles / name;
  paths.config = paths.directory / "profile.yaml";
  paths.config_lock = paths.directory / "config.lock";
  paths.user_template = home.profiles / "template.yaml";
  paths.own_template = paths.directory / "template.yaml";
  paths.state = paths.directory / "state.json";
  paths.lock = paths.directory / "lock";
  paths.machine_lock = paths.directory / "machine.lock";
  paths.docker_socket = paths.directory / "docker.sock";
  paths.run_directory = paths.directory / "run";
  paths.control_socket = paths.run_directory / "daemon.sock";
  paths.log_directory = paths.directory / "log";
  paths.daemon_log = paths.log_directory / "daemon.log";
  paths.console_log = paths.log_directory / "console.log";
  paths.driver_log = paths.log_directory / "qemu.log";
  paths.root_disk = paths.directory / "root.qcow2";
  paths.raw_root_disk = paths.directory / "root.raw";
  paths.data_disk = paths.directory / "data.raw";
  paths.seed_disk = paths.directory / "seed.img";
  paths.keys_directory = paths.directory / "keys";
  paths.saved_directory = paths.directory / "suspended";
  paths.saved_marker = paths.saved_directory / "marker.json";

  const std::size_t longest = paths.control_socket.string().size();
  if (longest > platform::max_socket_path())
    throw Error(Errc::invalid_config, "the path of profile '" + paths.name + "' is too long for its sockets",
                "use a shorter name, or set COLIMA_LIKE_HOME to a shorter directory")
        .because(paths.control_socket.string() + " has " + std::to_string(longest) + " bytes and the system allows " +
                 std::to_string(platform::max_socket_path()));
  return paths;
}

std::string host_name(std::string_view profile) {
  std::string name = profile == "default" ? "colima-like" : "colima-like-" + std::string(profile);
  std::replace(name.begin(), name.end(), '_', '-');  // RFC 952 knows no underscore
  return name;
}

}  // namespace cl
