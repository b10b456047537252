#include "profiles/networks.hpp"

#include <algorithm>
#include <array>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>

#include "profiles/keys.hpp"

namespace cl {
namespace {

constexpr int widest = 8;
constexpr int narrowest_guest = 27;   // the guest has the 15th address
constexpr int narrowest_docker = 24;  // 16 networks of 14 addresses

constexpr std::array<std::string_view, 3> not_of_hosts{"0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3"};
constexpr std::array<std::string_view, 5> free_for_guest{"192.168.127.0/24", "10.211.55.0/24", "172.31.254.0/24",
                                                         "10.0.2.0/24", "192.168.64.0/24"};
constexpr std::array<std::string_view, 5> free_for_docker{"10.201.0.0/16", "172.29.0.0/16", "192.168.208.0/20",
                                                          "172.17.0.0/16", "10.97.0.0/16"};

std::optional<std::string> wrong_subnet(std::string_view text, std::string_view example, int narrowest) {
  const auto subnet = Subnet::parse(text);
  const bool usable = subnet && std::none_of(not_of_hosts.begin(), not_of_hosts.end(), [&](std::string_view one) {
                        return Subnet::parse(one).value().overlaps(*subnet);
                      });
  if (usable && subnet->prefix >= widest && subnet->prefix <= narrowest) return std::nullopt;
  return "must be a network such as " + std::string(example) + ", of /" + std::to_string(widest) + " to /" +
         std::to_string(narrowest) + ", not '" + std::string(text) + "'";
}

/// Of engines on this computer: their containers are reached by published ports. And halves of everything, by which a
/// VPN takes the place of the default route.
bool counts(const HostNetwork& network) {
  for (const std::string_view own : {"docker", "br-", "podman", "cni", "veth", "lo"})
    if (network.interface.starts_with(own)) return false;
  return network.subnet.prefix >= widest;
}

}  // namespace

std::optional<std::string> wrong_guest_subnet(std::string_view text) {
  return wrong_subnet(text, "192.168.127.0/24", narrowest_guest);
}

std::optional<std::string> wrong_docker_subnet(std::string_view text) {
  if (text.empty()) return std::nullopt;
  return wrong_subnet(text, "10.201.0.0/16", narrowest_docker);
}

bool is_private_network(const Subnet& subnet) {
  constexpr std::array<Subnet, 3> own{Subnet{10U << 24, 8}, Subnet{172U << 24 | 16U << 16, 12},
                                      Subnet{192U << 24 | 168U << 16, 16}};
  return std::any_of(own.begin(), own.end(),
                     [&](const Subnet& one) { return subnet.prefix >= one.prefix && subnet.overlaps(one); });
}

Subnet guest_subnet(const Profile& profile) { return Subnet::parse(profile.guest_subnet).value_or(Subnet()); }

std::string host_in_guest(const std::string& of_driver, const Profile& profile) {
  constexpr std::uint32_t host_number = 2;  // vm/qemu/command_line.cpp
  return of_driver.empty() ? of_driver : guest_subnet(profile).at(host_number);
}

Subnet docker_subnet(const Profile& profile) {
  return Subnet::parse(profile.docker_subnet.empty() ? "172.17.0.0/16" : profile.docker_subnet).value();
}

bool has_own_pools(const Profile& profile) {
  const boost::json::object daemon = boost::json::parse(profile.docker).as_object();
  return daemon.contains("bip") || daemon.contains("default-address-pools");
}

Subnet first_docker_network(const Subnet& pool) { return {pool.address, std::max(24, pool.prefix + 4)}; }

std::vector<NetworkClash> network_clashes(const std::string& name, const Profile& profile, const HostFacts& host,
                                          const std::vector<HostNetwork>& networks) {
  std::vector<NetworkClash> found;
  const std::string command = name == "default" ? "colima-like" : "colima-like -p " + name;
  const bool own_network = resolved_driver(profile, host) == "qemu";  // with vz it is the system's
  auto is_free = [&networks](const Subnet& subnet) {
    return std::none_of(networks.begin(), networks.end(), [&subnet](const HostNetwork& one) {
      return one.subnet.prefix >= widest && one.subnet.overlaps(subnet);
    });
  };
  auto look = [&](std::string_view key, const Subnet& ours, std::string_view whose, const Subnet& other,
                  const auto& candidates) {
    for (const HostNetwork& network : networks) {
      if (!counts(network) || !network.subnet.overlaps(ours)) continue;
      NetworkClash clash{std::string(key), "", ""};
      clash.text = "this computer reaches " + network.subnet.str() + " by " + network.interface + ", and " +
                   std::string(whose) + " is " + ours.str() + ": what is in both cannot be reached from containers";
      clash.remedy = "choose another network with '" + command + " config set " + clash.key + "', and restart";
      for (const std::string_view candidate : candidates) {
        const Subnet subnet = Subnet::parse(candidate).value();
        if (!is_free(subnet) || subnet.overlaps(other)) continue;
        clash.remedy =
            "'" + command + " config set " + clash.key + " " + subnet.str() + "' and '" + command + " restart' move it";
        break;
      }
      found.push_back(std::move(clash));
      return;
    }
  };
  const Subnet guest = guest_subnet(profile), docker = docker_subnet(profile);
  if (own_network) look("network.guest_subnet", guest, "the machine's own network", docker, free_for_guest);
  if ((profile.runtime == "docker" && !has_own_pools(profile)) || profile.runtime == "podman")
    look("network.docker_subnet", docker, "that of its containers", guest, free_for_docker);
  return found;
}

}  // namespace cl
