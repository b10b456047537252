#include "src/egress/filter.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "src/base/fnv.hpp"
#include "src/base/net/subnet.hpp"

namespace cl {
namespace {

using boost::asio::ip::address;
using boost::asio::ip::address_v4;
using boost::asio::ip::address_v6;

constexpr Subnet made_up{198U << 24 | 18U << 16, 15};

/// RFC 6890 and its registry, and clouds' metadata servers with 169.254.0.0/16.
constexpr std::array<std::string_view, 15> not_public{
    "0.0.0.0/8",     "10.0.0.0/8",      "100.64.0.0/10",  "127.0.0.0/8",    "169.254.0.0/16",
    "172.16.0.0/12", "192.0.0.0/24",    "192.0.2.0/24",   "192.88.99.0/24", "192.168.0.0/16",
    "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4",    "240.0.0.0/4"};
constexpr std::array<std::string_view, 3> private_networks{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"};

bool is_in(const address_v4& one, const Subnet& network) { return network.overlaps({one.to_uint(), 32}); }

template <class Networks>
bool is_in_any(const address_v4& one, const Networks& networks) {
  return std::any_of(networks.begin(), networks.end(), [&one](std::string_view network) {
    const auto subnet = Subnet::parse(network);
    return subnet && is_in(one, *subnet);
  });
}

/// The IPv4 address that an IPv6 one leads to: mapped, of NAT64 (RFC 6052) or of 6to4 (RFC 3056).
std::optional<address_v4> inner(const address_v6& outer) {
  const auto bytes = outer.to_bytes();
  auto at = [&bytes](std::size_t i) { return address_v4({bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]}); };
  constexpr std::array<unsigned char, 12> nat64{0x00, 0x64, 0xff, 0x9b};
  if (outer.is_v4_mapped()) return at(12);
  if (std::equal(nat64.begin(), nat64.end(), bytes.begin())) return at(12);
  if (bytes[0] == 0x20 && bytes[1] == 0x02) return at(2);
  return std::nullopt;
}

bool is_private(const address& one) {
  if (one.is_v4()) return is_in_any(one.to_v4(), private_networks);
  if (const auto v4 = inner(one.to_v6())) return is_in_any(*v4, private_networks);
  return (one.to_v6().to_bytes()[0] & 0xfe) == 0xfc;  // unique local, RFC 4193
}

}  // namespace

bool is_public(const address& one) {
  if (one.is_v4()) return !is_in_any(one.to_v4(), not_public);
  const address_v6 v6 = one.to_v6();
  if (const auto v4 = inner(v6)) return is_public(*v4);
  const auto bytes = v6.to_bytes();
  const bool global = (bytes[0] & 0xe0) == 0x20;  // 2000::/3 is all that was given out
  const bool special = bytes[0] == 0x20 && bytes[1] == 0x01 && (bytes[2] < 2 || (bytes[2] == 0x0d && bytes[3] == 0xb8));
  return global && !special;
}

EgressFilter::EgressFilter(Egress egress, std::string host_address, std::string salt)
    : egress_(std::move(egress)), host_address_(std::move(host_address)), salt_(std::move(salt)) {}

bool EgressFilter::allows(std::string_view name, std::optional<std::uint16_t> port) const {
  if (egress_.any_public) return true;
  return std::any_of(egress_.rules.begin(), egress_.rules.end(), [&](const EgressRule& rule) {
    if (rule.is_address || (port && rule.port != 0 && rule.port != *port)) return false;
    if (!rule.below) return name == rule.host;
    return name.size() > rule.host.size() + 1 && name.ends_with(rule.host) &&
           name[name.size() - rule.host.size() - 1] == '.';
  });
}

bool EgressFilter::may_resolve(std::string_view name) const { return allows(name, std::nullopt); }

address_v4 EgressFilter::address_for(const std::string& name) {
  if (const auto found = by_name_.find(name); found != by_name_.end()) {
    names_.splice(names_.begin(), names_, found->second);
    return address_v4(found->second->address);
  }
  const std::uint32_t size = std::uint32_t{1} << (32 - made_up.prefix);
  if (names_.size() >= most_names) {
    by_address_.erase(names_.back().address);
    by_name_.erase(names_.back().name);
    names_.pop_back();
  }
  // There are eight times as many as names; the first and the last are those of a network and its broadcast.
  std::uint32_t number = 1 + fnv1a_32(salt_ + name) % (size - 2);
  while (by_address_.contains(made_up.address + number)) number = 1 + number % (size - 2);
  names_.push_front({name, made_up.address + number});
  by_name_.emplace(name, names_.begin());
  by_address_.emplace(names_.front().address, names_.begin());
  return address_v4(names_.front().address);
}

EgressTarget EgressFilter::decide(const std::string& text, std::uint16_t port) {
  EgressTarget target{"", text, port};
  const std::string shown = text + ":" + std::to_string(port);
  boost::system::error_code ec;
  const address_v4 to = boost::asio::ip::make_address_v4(text, ec);
  if (ec) {
    target.refusal = "the machine asks for '" + shown + "', which is no address";
    return target;
  }
  if (text == host_address_) {
    if (!egress_.host_all && !egress_.host_ports.contains(port))
      target.refusal = "port " + std::to_string(port) + " of this computer is not in network.host_access";
    target.host = "127.0.0.1";
    target.is_listed = true;
    return target;
  }
  if (const auto found = by_address_.find(to.to_uint()); found != by_address_.end()) {
    target.host = found->second->name;
    target.is_name = true;
    target.check_first_bytes = !egress_.any_public;
    if (!allows(target.host, port))
      target.refusal = target.host + ":" + std::to_string(port) + " is not in network.egress";
    return target;
  }
  const bool listed = std::any_of(egress_.rules.begin(), egress_.rules.end(), [&](const EgressRule& rule) {
    return rule.is_address && rule.host == text && (rule.port == 0 || rule.port == port);
  });
  target.is_listed = listed;
  if (listed) return target;
  if (is_in(to, made_up)) {
    target.refusal = shown + " stands for a name that was asked for too long ago";
  } else if (!egress_.any_public) {
    target.refusal = shown + " is not in network.egress";
  } else if (!is_public(to)) {
    target.refusal = shown + " is not of the internet, and network.host_access is not all";
  }
  return target;
}

bool EgressFilter::may_reach(const EgressTarget& target, const address& one, bool is_own) const {
  if (target.is_listed) return true;
  if (is_public(one) && (!is_own || egress_.host_all)) return true;
  const bool named_exactly =
      target.is_name && std::any_of(egress_.rules.begin(), egress_.rules.end(), [&](const EgressRule& rule) {
        return !rule.is_address && !rule.below && rule.host == target.host;
      });
  return egress_.host_all && named_exactly && is_private(one);
}

std::string EgressFilter::first_bytes_refusal(const EgressTarget& target, const FirstBytes& first) const {
  const std::uint16_t port = first.port != 0 ? first.port : target.port;
  if (!first.name.empty() && allows(first.name, port)) return "";
  const std::string to = target.host + ":" + std::to_string(target.port);
  if (first.name.empty()) return "a connection to " + to + " does not say by itself where it goes";
  return "a connection to " + to + " goes to " + first.name + ":" + std::to_string(port) +
         ", which is not in network.egress";
}

}  // namespace cl
