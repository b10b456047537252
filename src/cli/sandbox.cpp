#include "src/cli/sandbox.hpp"

#include <boost/json.hpp>

#include "profiles/edit.hpp"
#include "src/base/file.hpp"
#include "src/base/path.hpp"
#include "src/cli/config.hpp"
#include "src/cli/output.hpp"

namespace cl::cli {
namespace {

namespace json = boost::json;

fs::path folder_of_this_call(const Home& program) {
  const fs::path folder = real_path(fs::current_path());
  const fs::path home = real_path(user_home());
  std::error_code is_new;
  const fs::path own = fs::weakly_canonical(program.profiles, is_new);
  if (folder == own || is_below(own.string(), folder.string()) || is_below(folder.string(), own.string()))
    throw Error(Errc::invalid_config,
                "a sandbox shares the current folder, and in " + folder.string() + " are the profiles themselves",
                "go to the folder of the project");
  if (folder == home || is_below(home.string(), folder.string()))
    throw Error(Errc::invalid_config,
                "a sandbox shares the current folder, and " + folder.string() + " holds your home",
                "go to the folder of the project");
  return folder;
}

/// As the key itself would say it.
std::string same_form(const Key& key, const std::string& value) {
  Profile profile;
  key.set(profile, value);
  return key.get(profile);
}

void require_sandbox(const ProfilePaths& paths, const Settings& settings) {
  const Layered there = load_layers(paths, environment_settings(), {});
  std::string differs;
  for (const auto& [name, value] : settings) {
    if (name == "network.egress") continue;  // whom it may reach is decided later
    const Key& key = *find_key(name);
    const std::string is = key.get(there.profile);
    if (is != same_form(key, value)) differs += (differs.empty() ? "" : ", ") + name + " is " + is;
  }
  if (there.profile.egress.empty()) differs += std::string(differs.empty() ? "" : ", ") + "network.egress is not set";
  if (!differs.empty())
    throw Error(Errc::busy,
                "profile '" + paths.name + "' is there already, and is no sandbox of this folder: " + differs,
                "'colima-like start NAME --sandbox' makes another one");
}

}  // namespace

Settings sandbox_settings(const fs::path& folder) {
  return {{"shares", json::serialize(json::array{folder.string()})},
          {"share_confinement", "required"},
          {"check_binds", "true"},
          {"ssh.agent", "false"},
          {"host_sockets", "false"},
          {"network.address", "127.0.0.1"},
          {"network.host_access", "none"},
          {"network.egress", "none"}};
}

void make_sandbox(const Invocation& call) {
  Settings settings = sandbox_settings(folder_of_this_call(call.home));
  for (const auto& [name, value] : call.settings) settings[name] = value;
  const ConfigFile config = config_file(call);
  if (file_exists(config.paths.directory)) return require_sandbox(config.paths, settings);
  try {
    const FileLock lock = config.lock();
    std::string yaml = config.read();
    for (const auto& [name, value] : settings) yaml = set_in_file(yaml, *find_key(name), value, config.file.string());
    config.install(yaml);
    require_sandbox(config.paths, settings);  // the environment goes over the file
  } catch (...) {
    remove_tree(config.paths.directory);  // as if it had not been asked for
    throw;
  }
  if (settings.at("network.egress") == "none")
    print_note("this machine has no network: 'colima-like config set -p " + config.paths.name +
               " network.egress registry.example:443' and a restart let it reach that");
}

}  // namespace cl::cli
