#pragma once

#include <string>
#include <vector>

#include "profiles/profile.hpp"
#include "src/base/host.hpp"
#include "src/base/net/host_networks.hpp"

/// The machine's own networks, and those of this computer that they hide.
namespace cl {

/// The profile's values were checked when it was read.
Subnet guest_subnet(const Profile& profile);
/// What containers' networks are taken from; Docker's first one when the profile says nothing.
Subnet docker_subnet(const Profile& profile);
/// Whether the profile's `docker` says itself where containers' networks are taken from.
bool has_own_pools(const Profile& profile);
/// Of the first network in it: a sixteenth of it, or 254 addresses where it is large.
Subnet first_docker_network(const Subnet& pool);

/// This computer as the guest reaches it, where the driver makes the guest's network (its DriverTraits::host_address
/// says so); else empty.
std::string host_in_guest(const std::string& of_driver, const Profile& profile);

/// Of the three that are everybody's own (RFC 1918).
bool is_private_network(const Subnet& subnet);

/// What is wrong with such a value, or nothing.
std::optional<std::string> wrong_guest_subnet(std::string_view text);
std::optional<std::string> wrong_docker_subnet(std::string_view text);

/// A network of this computer that the machine or its containers cannot reach, since they have it themselves.
struct NetworkClash {
  std::string key;     ///< that moves the machine's
  std::string text;    ///< a sentence
  std::string remedy;  ///< a command, with a network that is free
};
/// Of the networks that this computer reaches (host_networks()). An engine of this computer itself is no clash.
/// `name` is the profile's, for the remedy.
std::vector<NetworkClash> network_clashes(const std::string& name, const Profile& profile, const HostFacts& host,
                                          const std::vector<HostNetwork>& networks);

}  // namespace cl
