#pragma once

#include <boost/asio/ip/address.hpp>
#include <cstdint>
#include <list>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "profiles/egress.hpp"
#include "src/egress/first_bytes.hpp"

/// What may leave a machine whose network is filtered. Without any I/O: what asks is in src/daemon/services/egress.*.
namespace cl {

/// Where this computer is to connect for a program of the guest, or why it will not.
struct EgressTarget {
  std::string refusal;  ///< "evil.example:443 is not in network.egress"; empty = it may
  std::string host;     ///< a name, or an address in digits
  std::uint16_t port = 0;
  bool is_name = false;            ///< it is looked up
  bool is_listed = false;          ///< the user has named this very address
  bool check_first_bytes = false;  ///< it has to say by itself that it goes there: first_bytes_refusal()
};

/// The decisions. Names are told to the guest as addresses that this computer makes up (198.18.0.0/15, RFC 2544's,
/// which the internet does not have): so what it connects to is a name that was allowed, looked up by this computer at
/// that moment, and an address that it knows from elsewhere leads nowhere.
class EgressFilter {
 public:
  /// `salt` is the machine's own: with it each name has an address that stays the same over our restarts.
  EgressFilter(Egress egress, std::string host_address, std::string salt);

  /// Whether the guest may know that the name exists.
  bool may_resolve(std::string_view name) const;
  /// The address that stands for the name, which may_resolve(). The name asked for longest ago loses its own.
  boost::asio::ip::address_v4 address_for(const std::string& name);

  /// For a connection to `address`, as the guest says.
  EgressTarget decide(const std::string& address, std::uint16_t port);
  /// Whether the address of a target, or one that its name was looked up to, may be connected to; `is_own` as
  /// is_own_address() says of it. What leads to this computer or into its network is followed only where the user has
  /// named it.
  bool may_reach(const EgressTarget& target, const boost::asio::ip::address& address, bool is_own) const;
  /// Why a connection is not let go on that says by itself where it goes; empty when it may.
  std::string first_bytes_refusal(const EgressTarget& target, const FirstBytes& first) const;

  /// Names at a time that have an address.
  static constexpr std::size_t most_names = 16'384;

 private:
  bool allows(std::string_view name, std::optional<std::uint16_t> port) const;

  Egress egress_;
  std::string host_address_;  ///< this computer, as the guest reaches it
  std::string salt_;
  struct Named {
    std::string name;
    std::uint32_t address;
  };
  std::list<Named> names_;  ///< the one asked for last in front
  std::unordered_map<std::string, std::list<Named>::iterator> by_name_;
  std::unordered_map<std::uint32_t, std::list<Named>::iterator> by_address_;
};

/// Of the internet: neither of this computer nor of a network that is somebody's own, nor of those that are kept for
/// something else (RFC 6890).
bool is_public(const boost::asio::ip::address& address);

}  // namespace cl
