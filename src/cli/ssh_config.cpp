#include "src/cli/ssh_config.hpp"

#include <iostream>

#include "profiles/state.hpp"
#include "profiles/store.hpp"
#include "src/base/file.hpp"
#include "src/base/path.hpp"
#include "src/base/platform.hpp"
#include "src/base/shell.hpp"
#include "src/cli/command.hpp"
#include "src/cli/launch.hpp"
#include "src/cli/output.hpp"

namespace cl::cli {
namespace {

/// A word of the shell line of a ProxyCommand, in which ssh has tokens of its own.
std::string proxy_word(const std::string& text) {
  std::string out;
  for (const char c : shell_quoted(text)) out += c == '%' ? std::string("%%") : std::string(1, c);
  return out;
}

/// ssh's own quotes, for a path in its file.
std::string ssh_quoted(const fs::path& path) {
  const std::string text = path.string();
  if (text.find('"') != std::string::npos)
    throw Error(Errc::invalid_config, text + " cannot stand in an ssh configuration", "use a path without '\"'");
  std::string out = "\"";
  for (const char c : text) out += c == '%' ? "%%" : std::string(1, c);
  return out + "\"";
}

fs::path users_ssh_config() {
  const auto home = home_directory();
  if (!home) throw Error(Errc::host_requirement, "there is no home directory", "set HOME");
  fs::path file = *home / ".ssh" / "config";
  return is_link(file) ? real_path(file) : file;
}

/// One line, at the top: further down it would be part of a Host block.
std::string include_line(const Home& home) {
  return "Include " + ssh_quoted(home.profiles / "*" / "ssh_config") + "\n";
}

int install(const Invocation& call, const ProfilePaths& paths) {
  write_atomically(paths.directory / "ssh_config", ssh_stanza(call.home, paths));
  const fs::path file = users_ssh_config();
  make_private_directory(file.parent_path());
  const std::string before = read_file_if_exists(file).value_or(""), line = include_line(call.home);
  if (before.find(line) == std::string::npos) write_atomically(file, line + before);
  std::cout << "'ssh " << host_name(paths.name) << "' works now: " << file.string() << " includes it\n";
  return 0;
}

int uninstall(const Invocation& call, const ProfilePaths& paths) {
  remove_file(paths.directory / "ssh_config");
  const fs::path file = users_ssh_config();
  std::string text = read_file_if_exists(file).value_or("");
  const std::string line = include_line(call.home);
  bool others = false;
  for (const std::string& name : list_profiles(call.home))
    others = others || file_exists(call.home.profiles / name / "ssh_config");
  const auto at = text.find(line);
  if (!others && at != std::string::npos) write_atomically(file, text.erase(at, line.size()));
  std::cout << "'ssh " << host_name(paths.name) << "' is not configured any more\n";
  return 0;
}

}  // namespace

std::string ssh_stanza(const Home& home, const ProfilePaths& paths) {
  const fs::path public_key = paths.keys_directory / "ssh_host_ed25519_key.pub";
  const auto host_key = read_file_if_exists(public_key);
  if (!host_key)
    throw Error(Errc::not_running, "profile '" + paths.name + "' has no SSH keys yet: its first start makes them",
                "colima-like start " + paths.name);
  const std::string host = host_name(paths.name);
  const fs::path known_hosts = paths.keys_directory / "known_hosts";
  const std::string line = host + " " + host_key->substr(0, host_key->find('\n')) + "\n";
  if (read_file_if_exists(known_hosts) != line) write_atomically(known_hosts, line);
  const auto state = load_state(paths);
  const bool agent = state && state->profile.ssh_agent;
  return "Host " + host + "\n" + "  HostName " + host + "\n  User root\n  HostKeyAlias " + host + "\n" +
         "  UserKnownHostsFile " + ssh_quoted(known_hosts) + "\n  GlobalKnownHostsFile /dev/null\n" +
         "  StrictHostKeyChecking yes\n  UpdateHostKeys no\n  IdentityFile " +
         ssh_quoted(paths.keys_directory / "id_ed25519") + "\n  IdentitiesOnly yes\n" +
         (agent ? "  ForwardAgent yes\n" : "  IdentityAgent none\n") +
         "  ProxyCommand env COLIMA_LIKE_HOME=" + proxy_word(home.profiles.string()) +
         " COLIMA_LIKE_CACHE=" + proxy_word(home.cache.string()) + " " + proxy_word(platform::executable().string()) +
         " ssh-server -p " + paths.name + "\n";
}

int run_ssh_config(const Invocation& call) {
  const ProfilePaths paths = profile_paths(call.home, call.profile);
  require_profile(paths);
  if (const Profile profile = load_profile(paths, environment_settings()); !profile.remote_hosts.empty())
    throw Error(Errc::invalid_config,
                "the engine of profile '" + paths.name + "' is on a host, which plain ssh reaches",
                "ssh " + profile.remote_hosts.front());
  if (call.uninstall) return uninstall(call, paths);
  if (call.install) return install(call, paths);
  std::cout << ssh_stanza(call.home, paths);
  return 0;
}

}  // namespace cl::cli
