#include "profiles/remote_host.hpp"

#include <algorithm>
#include <array>

#include "profiles/keys.hpp"

namespace cl {
namespace {

constexpr std::string_view its_docker = "the host's Docker has its own: its /etc/docker/daemon.json";
constexpr std::string_view its_machine = "a host is as large as it is; 'docker run --cpus --memory' limits a container";
constexpr std::string_view its_system = "a host has a system of its own";
constexpr std::string_view its_network = "a host's network is its own: its firewall decides";

/// A key of machines, and what it is on a host. Empty: whatever a machine would have, since nobody looks at it.
struct Row {
  std::string_view key, value, instead;
};

constexpr std::array rows{
    Row{"cpus", "", its_machine},
    Row{"memory", "", its_machine},
    Row{"disk", "", its_machine},
    Row{"arch", "", "a host is of the architecture that it is; name one of that kind in hosts"},
    Row{"image", "", its_system},
    Row{"idle", "off", "a host does not sleep for us"},
    Row{"runtime", "docker", "on a host only docker is used"},
    Row{"env", "", "a host's shells are set up there"},
    Row{"docker", "", its_docker},
    Row{"registries.mirrors", "", its_docker},
    Row{"registries.insecure", "", its_docker},
    Row{"registries.certificates", "", its_docker},
    Row{"proxy.http", "", its_docker},
    Row{"proxy.https", "", its_docker},
    Row{"proxy.none", "", its_docker},
    Row{"shares", "[]", "folders of this computer do not get to a host; 'colima-like cp' copies, and so does a build"},
    Row{"share_type", "", "folders of this computer do not get to a host"},
    Row{"host_sockets", "false", "others on a host could use this computer's sockets"},
    Row{"provision", "", "a host is set up by its owner"},
    Row{"vm.accel", "", its_system},
    Row{"vm.rosetta", "", its_system},
    Row{"vm.nested", "", its_system},
    Row{"network.dns", "", its_docker},
    Row{"network.hosts", "", "a host knows names by its own /etc/hosts"},
    Row{"network.egress", "", its_network},
    Row{"network.host_access", "", its_network},
    Row{"network.guest_subnet", "", its_network},
    Row{"network.docker_subnet", "", its_docker},
    Row{"ssh.agent", "false", "'ssh -A' to that host has it"},
};

constexpr std::string_view loopback = "127.0.0.1";

}  // namespace

std::optional<std::string> wrong_remote_host(std::string_view text) {
  constexpr std::string_view scheme = "ssh://";
  constexpr std::string_view form = "must be a name of ~/.ssh/config, or ssh://[USER@]HOST[:PORT], not '";
  std::string_view rest = text;
  if (rest.starts_with(scheme)) rest.remove_prefix(scheme.size());
  const bool plain = std::all_of(rest.begin(), rest.end(), [](const char c) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    return letter || std::string_view("._-@%").find(c) != std::string_view::npos ||
           std::string_view(":[]").find(c) != std::string_view::npos;
  });
  const bool number = rest.find_first_not_of("0123456789") == std::string_view::npos;
  // What begins with a dash would be an option of ssh.
  if (number || rest.empty() || rest.front() == '-' || !plain || rest.find("@-") != std::string_view::npos)
    return std::string(form) + std::string(text) + "'";
  return std::nullopt;
}

std::vector<Problem> check_remote_host(const Profile& profile) {
  std::vector<Problem> found;
  if (profile.remote_hosts.size() != 1)
    found.push_back({"hosts", profile.remote_hosts.empty()
                                  ? std::string("vm.driver host needs one: hosts: [ssh://user@build1]")
                                  : "one host makes an engine; several in one profile are not possible"});
  return found;
}

void settle_remote_host(Profile& profile, const std::function<bool(std::string_view key)>& asked,
                        std::vector<Problem>& problems) {
  for (const Row& row : rows) {
    const Key& key = *find_key(row.key);
    Profile as_it_is;
    if (!row.value.empty()) key.set(as_it_is, row.value);
    const std::string value = key.get(as_it_is);
    if (asked(row.key) && key.get(profile) != value)
      problems.push_back({std::string(row.key), std::string(row.instead)});
    else
      key.set(profile, value);
  }
  if (!asked("network.address")) profile.network_address = loopback;
}

std::string remote_host(const Profile& profile) {
  return profile.remote_hosts.empty() ? std::string() : profile.remote_hosts.front();
}

}  // namespace cl
