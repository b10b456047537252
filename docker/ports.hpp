#pragma once

#include <boost/asio/ip/address.hpp>
#include <boost/json/array.hpp>
#include <cstdint>
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

struct PublishedPort {
  HostPort at;
  std::shared_ptr<const Container> container;
  std::uint16_t private_port = 0;

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

struct PortRules {
  /// Where ports are opened that are published without an address, or on every one, which is the same to Docker.
  /// Unspecified: as Docker says, on every address. A loopback address: on both families' loopback. Any other: there,
  /// and not at all for the other family.
  asio::ip::address default_address;
  Forwarded forwarded = Forwarded::published;

  bool operator==(const PortRules&) const = default;
};

/// The range, first and last port, from which the engine of a machine of this name takes ports that containers publish
/// without a number. It has none of `connection_ports`, which the host uses for its own connections (platform.hpp). The
/// engine counts upwards, so each machine begins at another place of one range.
std::pair<std::uint16_t, std::uint16_t> ephemeral_ports(std::string_view machine,
                                                        std::pair<std::uint16_t, std::uint16_t> connection_ports);

using WantedPorts = std::map<HostPort, PublishedPort>;

/// The ports of the engine's list of running containers. Entries that are not understood are left out.
WantedPorts wanted_ports(const boost::json::array& containers, const PortRules& rules);

/// Adds the ports that the services of a swarm publish on each of its nodes (publish mode ingress). Those of mode host
/// are ports of containers. `services` is the engine's list.
void add_services(WantedPorts& wanted, const boost::json::array& services, const PortRules& rules);

/// Adds ports that lead to programs in the guest, where no container publishes them: those that listen on every address
/// (here: where ports without an address are opened), and on 127.0.0.1 or ::1 (here: the same). Other addresses were
/// chosen to be reached from one network of the guest only.
void add_listeners(WantedPorts& wanted, const std::vector<Listener>& listeners, const boost::json::array& containers,
                   const PortRules& rules);

}  // namespace cl
