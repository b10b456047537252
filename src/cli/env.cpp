#include <cstdlib>
#include <iostream>

#include "src/cli/command.hpp"
#include "src/cli/launch.hpp"
#include "src/cli/output.hpp"

namespace cl::cli {
namespace {

enum class Shell { posix, fish, powershell };

Shell shell_of(const std::string& name) {
  const std::string base = name.substr(name.rfind('/') + 1);
  for (const char* posix : {"bash", "zsh", "sh", "dash", "ksh", ""})
    if (base == posix) return Shell::posix;
  if (base == "fish") return Shell::fish;
  if (base == "powershell" || base == "pwsh") return Shell::powershell;
  throw Error(Errc::usage, "'" + name + "' is no shell that is known here", "use bash, zsh, fish or powershell");
}

/// In single quotes, as this shell reads them back.
std::string quoted(Shell shell, const std::string& text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'') {
      out += shell == Shell::posix ? "'\\''" : shell == Shell::fish ? "\\'" : "''";
    } else if (c == '\\' && shell == Shell::fish) {
      out += "\\\\";
    } else {
      out += c;
    }
  }
  return out + "'";
}

}  // namespace

int run_env(const Invocation& call) {
  const ProfilePaths paths = profile_paths(call.home, call.profile);
  require_profile(paths);
  const char* ours = std::getenv("SHELL");
  const Shell shell = !call.shell.empty()
                          ? shell_of(call.shell)
                          : (ours != nullptr && std::string_view(ours).ends_with("/fish") ? Shell::fish : Shell::posix);
  const std::pair<const char*, std::string> variables[] = {
      {"DOCKER_HOST", "unix://" + paths.docker_socket.string()},
      // What Testcontainers mounts into its helper is a path in the machine, and its ports are on this host.
      {"TESTCONTAINERS_DOCKER_SOCKET_OVERRIDE", "/var/run/docker.sock"},
      {"TESTCONTAINERS_HOST_OVERRIDE", "localhost"}};
  for (const auto& [name, value] : variables) {
    const std::string text = quoted(shell, value);
    switch (shell) {
      case Shell::posix: std::cout << "export " << name << '=' << text << '\n'; break;
      case Shell::fish: std::cout << "set -gx " << name << ' ' << text << ";\n"; break;
      case Shell::powershell: std::cout << "$Env:" << name << " = " << text << '\n'; break;
    }
  }
  return 0;
}

}  // namespace cl::cli
