#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "profiles/profile.hpp"

/// What the machine and its containers may reach outside: network.egress and network.host_access.
namespace cl {

/// One item of network.egress: "registry.example:443", "*.debian.org:443", "192.168.1.5:5432", "pypi.org:*".
struct EgressRule {
  std::string host;    ///< a name in lower case, without "*.", or an IPv4 address
  bool below = false;  ///< every name below it, and not the name itself
  bool is_address = false;
  std::uint16_t port = 0;  ///< 0 = each
  bool operator==(const EgressRule&) const = default;
};

/// What is wrong with such an item, or nothing; `rule` is filled in then.
std::optional<std::string> parse_egress_rule(std::string_view text, EgressRule& rule);
/// What is wrong with an item of network.egress: a rule, or "none" alone.
std::optional<std::string> wrong_egress(std::string_view text);
/// What is wrong with an item of network.host_access: "all" or "none" alone, or a port.
std::optional<std::string> wrong_host_access(std::string_view text);

/// Both settings together.
struct Egress {
  /// open: by the machine's own network card, to whatever this computer reaches. filtered: this computer opens every
  /// connection, and looks at each. closed: the machine has no network card.
  enum class Mode { open, filtered, closed };
  Mode mode = Mode::open;
  bool any_public = false;             ///< filtered: to every address of the internet
  std::vector<EgressRule> rules;       ///< filtered: else to these alone
  bool host_all = true;                ///< this computer's own ports, and the network it is in
  std::set<std::uint16_t> host_ports;  ///< of this computer, when not all
  bool operator==(const Egress&) const = default;
};
Egress egress_of(const Profile& profile);

/// Where the packet filter of a machine whose network is filtered sends what programs connect to, and their questions
/// to the DNS server that it is told. Nothing else in the guest listens there.
inline constexpr std::uint16_t egress_port = 11080;
inline constexpr std::string_view egress_dns_address = "127.0.0.153";
inline constexpr std::uint16_t egress_dns_port = 11053;

}  // namespace cl
