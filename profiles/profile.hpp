#pragma once

#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "profiles/words.hpp"
#include "src/base/byte_size.hpp"

namespace cl {

/// A script of the user's that runs in the machine, once in each boot.
struct Script {
  std::string text;
  std::string mode = "system";      ///< "system", or "user": in a login shell, at home
  std::string when = "after-boot";  ///< "after-boot": before the runtime is set up; "ready": when it is there
  bool operator==(const Script&) const = default;
};

/// What a user can decide about a profile. Plain values; every default of the product is here and nowhere else.
/// The keys' names, meanings and rules are the table in profiles/keys.cpp.
struct Profile {
  int cpus = 2;
  ByteSize memory = ByteSize::gib(2);
  ByteSize disk = ByteSize::gib(60);      ///< the containers' data disk; a sparse file
  std::string arch = "host";              ///< of arch_names
  std::string image = "auto";             ///< profiles/image_ref.hpp
  std::string runtime = "docker";         ///< profiles/runtime.hpp
  std::string containerd_tools = "auto";  ///< nerdctl and BuildKit: "auto", "none" or a file (profiles/image_ref.hpp)
  std::string docker = "{}";              ///< for dockerd's daemon.json: a JSON object
  std::vector<std::string> mirrors;       ///< registry mirrors, URLs
  std::vector<std::string> insecure;      ///< registries without TLS, "host[:port]" or a network
  std::vector<std::string> certificates;  ///< PEM files of the host that the guest trusts; "host" is the host's store
  std::vector<std::string> dns;
  std::map<std::string, std::string> hosts;  ///< IP addresses by name
  std::string proxy_http, proxy_https;       ///< URLs; empty = none
  std::string proxy_none;                    ///< "a,.b": what is reached directly
  std::map<std::string, std::string> env;    ///< of shells and commands in the guest
  DriverWish driver = DriverWish::automatic;
  std::vector<std::string> remote_hosts;  ///< where the driver "host" finds its engine; profiles/remote_host.hpp
  AccelWish accel = AccelWish::automatic;
  RosettaWish rosetta = RosettaWish::automatic;
  bool nested = false;                                   ///< machines within the machine
  std::chrono::seconds idle = std::chrono::minutes(15);  ///< asleep after so long without use; 0 = never
  IdleClients idle_clients = IdleClients::all;
  std::string network_address = "0.0.0.0";  ///< the widest of published ports
  ForwardWish network_forward = ForwardWish::published;
  std::vector<std::string> egress;              ///< profiles/egress.hpp; empty = whatever this computer reaches
  std::vector<std::string> host_access{"all"};  ///< likewise
  int port_limit = 1000;                        ///< so many published ports are open at once
  bool low_ports = false;                       ///< those below 1024 are opened, too
  std::string guest_subnet = "10.0.2.0/24";     ///< the machine's own network, with QEMU
  std::string docker_subnet;                    ///< of containers' networks; empty = Docker's own
  std::vector<std::string> shares{"~"};         ///< "location[:mount point][:ro][:type]"
  std::string share_type = "auto";              ///< of share_type_names
  ShareConfinement share_confinement = ShareConfinement::required;
  std::vector<std::string> share_hide{"default"};  ///< profiles/hidden.hpp
  std::vector<std::string> forwards;               ///< ports and sockets, "8080:80"; profiles/forwards.hpp
  std::vector<Script> provision;
  bool ssh_agent = false;    ///< the host's SSH agent is at hand in sessions
  bool file_events = true;   ///< changes of shared folders reach those who watch files in containers
  bool host_sockets = true;  ///< containers get sockets of this host that they mount
  bool check_binds = true;   ///< refuse mounts of folders that the machine does not see
  bool check_ports = true;   ///< refuse the start of a container whose port another program of this host has
  bool operator==(const Profile&) const = default;
};

/// One broken rule. All of them are reported at once, so that a user fixes everything in one go.
struct Problem {
  std::string where;    ///< "cpus", or "profile.yaml:3:7"
  std::string message;  ///< "must be a whole number from 1 to 8, not -3"
};

}  // namespace cl
