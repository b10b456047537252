#pragma once

#include <boost/asio/ip/address.hpp>
#include <boost/json/array.hpp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "src/forward/host_port.hpp"
#include "src/forward/listener_watch.hpp"

/// Which ports of this host should lead to which containers: plain values, no sockets.
namespace cl {

/// A running container, as far as ports are concerned.
struct Container {
  std::string id, name;
  std::vector<std::string> addresses;  ///< where it is reached in the guest, IPv4 first; none with the host's network
  std::string run;                     ///< another for each start: the ids of its ends in its networks
};

/// Which rule keeps a port that is wanted from being opened.
enum class Refusal {
  none,
  address,  ///< PortRules::widest_address is narrower
  low,      ///< PortRules::low_ports
  limit,    ///< there are as many as there may be
  files     ///< they take as many of this process's descriptors as they may
};

struct PublishedPort {
  HostPort at;
  std::shared_ptr<const Container> container;
  std::uint16_t private_port = 0;
  bool of_listener = false;  ///< nobody published it: a program in the guest listens
  Refusal refused = Refusal::none;
  std::size_t more = 0;  ///< of its container are refused for the same reason, and stand in no list

  /// Where it leads, seen from the guest: any of these. The container's own address where it has one, which spares the
  /// engine's proxy in between and tells a program that does not listen yet from one that hangs up.
  std::vector<std::pair<std::string, std::uint16_t>> targets() const;
};

/// Which of the guest's ports appear on this host.
enum class Forwarded {
  none,
  published,  ///< what containers publish
  all         ///< and what programs in the guest listen on outside of containers' networks
};

/// Ports from here on need no right on most systems. Those below have meanings of their own, such as SSH's.
constexpr std::uint16_t first_ordinary_port = 1024;

struct PortRules {
  /// Where ports are opened that are published without an address, or on every one, which is the same to Docker; and
  /// the widest that any is. Unspecified: as Docker says, on every address. A loopback address: on both families'
  /// loopback, and nowhere else. Any other: there or on loopback, and not at all for the other family's "every one".
  asio::ip::address widest_address;
  Forwarded forwarded = Forwarded::published;
  bool low_ports = false;    ///< those below first_ordinary_port are opened, too, as far as this user may
  std::size_t limit = 1000;  ///< so many are open at once; see keep_to_limit()

  bool operator==(const PortRules&) const = default;
};

/// The range, first and last port, from which the engine of a machine of this name takes ports that containers publish
/// without a number. It has none of `connection_ports`, which the host uses for its own connections (platform.hpp). The
/// engine counts upwards, so each machine begins at another place of one range.
std::pair<std::uint16_t, std::uint16_t> ephemeral_ports(std::string_view machine,
                                                        std::pair<std::uint16_t, std::uint16_t> connection_ports);

using WantedPorts = std::map<HostPort, PublishedPort>;

/// The ports of the engine's list of running containers. Entries that are not understood are left out. What the rules
/// do not allow is in it as refused.
WantedPorts wanted_ports(const boost::json::array& containers, const PortRules& rules);

/// Adds the ports that the services of a swarm publish on each of its nodes (publish mode ingress). Those of mode host
/// are ports of containers. `services` is the engine's list.
void add_services(WantedPorts& wanted, const boost::json::array& services, const PortRules& rules);

/// Adds ports that lead to programs in the guest, where no container publishes them: those that listen on every address
/// (here: where ports without an address are opened), and on 127.0.0.1 or ::1 (here: the same). Other addresses were
/// chosen to be reached from one network of the guest only.
void add_listeners(WantedPorts& wanted, const std::vector<Listener>& listeners, const boost::json::array& containers,
                   const PortRules& rules);

/// Refuses what is more than `limit` ports, or takes more than `most_sockets`. Those for which `is_open` says so are
/// kept before others; else the first ones stay. IPv4 and IPv6 of one number are two sockets, and count as one port
/// where they mean the same, every address or loopback. Then leaves of all that is refused one for each container and
/// reason, which tells how many `more` there are, and only the first few of these. Returns how many ports are refused
/// and told by none of them.
std::size_t keep_to_limit(WantedPorts& wanted, std::size_t limit, std::size_t most_sockets,
                          const std::function<bool(const HostPort&)>& is_open);

}  // namespace cl
