#include "docker/ports.hpp"

#include <algorithm>
#include <boost/crc.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <cctype>
#include <set>
#include <sstream>
#include <string_view>

#include "src/base/json.hpp"

namespace cl {
namespace json = boost::json;
namespace {

std::uint16_t port(const json::value& in, std::string_view key) {
  const json::value* value = find_at(&in, key);
  if (value == nullptr || !value->is_int64() || value->get_int64() < 0 || value->get_int64() > 65535) return 0;
  return static_cast<std::uint16_t>(value->get_int64());
}

Container read_container(const json::value& from) {
  Container container;
  container.id = text_at(from, "Id");
  // "/name", and "/other/alias" for links.
  if (const json::value* names = find_at(&from, "Names"); names != nullptr && names->is_array())
    for (const json::value& name : names->get_array())
      if (name.is_string() && std::string_view(name.get_string()).find('/', 1) == std::string_view::npos)
        container.name = std::string_view(name.get_string()).substr(1);
  const json::value* settings = find_at(&from, "NetworkSettings");
  const json::value* networks = find_at(settings, "Networks");
  if (networks == nullptr || !networks->is_object()) return container;
  for (const auto& [name, network] : networks->get_object())
    container.run.append(text_at(network, "EndpointID")) += ' ';
  for (const char* family : {"IPAddress", "GlobalIPv6Address"})
    for (const auto& [name, network] : networks->get_object())
      if (std::string address(text_at(network, family)); !address.empty())
        container.addresses.push_back(std::move(address));
  return container;
}

/// The 64 hex digits in a control group's path that are a container's id, whoever named the group; empty without.
std::string container_of(const std::string& control_group) {
  constexpr std::size_t length = 64;
  std::size_t digits = 0;
  for (std::size_t i = 0; i < control_group.size(); ++i) {
    digits = std::isxdigit(static_cast<unsigned char>(control_group[i])) != 0 ? digits + 1 : 0;
    if (digits == length) return control_group.substr(i + 1 - length, length);
  }
  return {};
}

/// Who listens there: a container in the guest's network, or a program of the guest.
Container listening_container(const Listener& listener, const json::array& containers) {
  Container found;
  found.name = "the machine";
  if (const std::string id = container_of(listener.control_group); !id.empty())
    for (const json::value& one : containers)
      if (text_at(one, "Id") == id) found = read_container(one);
  found.addresses = {"127.0.0.1"};
  if (listener.address.is_v6()) found.addresses = {"::1"};
  return found;
}

/// Fills in `address` and `refused` of a port whose number is known. False for what is no address, and for the family
/// that the widest address does not have.
bool place(PublishedPort& port, const std::string& said, const PortRules& rules) {
  error_code ec;
  // An engine without IPv6 leaves the field out.
  asio::ip::address address = asio::ip::make_address(said.empty() ? "0.0.0.0" : said, ec);
  if (ec) return false;
  const asio::ip::address& widest = rules.widest_address;
  port.refused = !rules.low_ports && port.at.port < first_ordinary_port ? Refusal::low : Refusal::none;
  if (!widest.is_unspecified() && address.is_unspecified()) {
    if (widest.is_v6() != address.is_v6() && !widest.is_loopback()) return false;
    if (widest.is_v6() == address.is_v6()) {
      address = widest;
    } else if (address.is_v6()) {
      address = asio::ip::address_v6::loopback();
    } else {
      address = asio::ip::address_v4::loopback();
    }
  } else if (!widest.is_unspecified() && !address.is_loopback() && address != widest) {
    port.refused = Refusal::address;
  }
  port.at.address = address;
  return true;
}

/// What stands for a port of both families where they mean the same.
HostPort counted_as(HostPort at) {
  if (!at.address.is_v6()) return at;
  if (at.address.is_unspecified()) at.address = asio::ip::address_v4::any();
  if (at.address.is_loopback()) at.address = asio::ip::address_v4::loopback();
  return at;
}

}  // namespace

std::vector<std::pair<std::string, std::uint16_t>> PublishedPort::targets() const {
  std::vector<std::pair<std::string, std::uint16_t>> found;
  for (const std::string& address : container->addresses) found.emplace_back(address, private_port);
  if (found.empty()) {
    std::string host = at.address.to_string();
    if (at.address.is_unspecified()) host = at.address.is_v6() ? "::1" : "127.0.0.1";
    found.emplace_back(std::move(host), at.port);
  }
  return found;
}

WantedPorts wanted_ports(const json::array& containers, const PortRules& rules) {
  WantedPorts wanted;
  if (rules.forwarded == Forwarded::none) return wanted;
  for (const json::value& one : containers) {
    const json::value* ports = find_at(&one, "Ports");
    if (ports == nullptr || !ports->is_array()) continue;
    std::shared_ptr<const Container> container;
    for (const json::value& entry : ports->get_array()) {
      PublishedPort published;
      published.at.port = port(entry, "PublicPort");
      published.private_port = port(entry, "PrivatePort");
      const std::string type(text_at(entry, "Type"));
      if (published.at.port == 0 || published.private_port == 0 || (type != "tcp" && type != "udp")) continue;
      published.at.protocol = type == "udp" ? Protocol::udp : Protocol::tcp;
      if (!place(published, std::string(text_at(entry, "IP")), rules)) continue;
      if (!container) container = std::make_shared<const Container>(read_container(one));
      published.container = container;
      const HostPort key = published.at;
      wanted.emplace(key, std::move(published));
    }
  }
  return wanted;
}

void add_services(WantedPorts& wanted, const json::array& services, const PortRules& rules) {
  if (rules.forwarded == Forwarded::none) return;
  for (const json::value& one : services) {
    // The port that it was given, or the one that it asked for as long as it has none.
    const json::value* spec = find_at(&one, "Spec");
    const json::value* given = find_at(&one, "Endpoint");
    if (find_at(given, "Ports") == nullptr) given = find_at(spec, "EndpointSpec");
    const json::value* ports = find_at(given, "Ports");
    if (ports == nullptr || !ports->is_array()) continue;
    const auto service = std::make_shared<Container>();
    service->id = text_at(one, "ID");
    service->addresses = {"127.0.0.1"};  // the engine forwards IPv4 only to a service
    service->name = "the service " + (spec != nullptr ? std::string(text_at(*spec, "Name")) : service->id);
    for (const json::value& entry : ports->get_array()) {
      const std::string protocol(text_at(entry, "Protocol"));
      if (text_at(entry, "PublishMode") == "host" || (protocol != "tcp" && protocol != "udp")) continue;
      PublishedPort published;
      published.at.protocol = protocol == "udp" ? Protocol::udp : Protocol::tcp;
      published.at.port = published.private_port = port(entry, "PublishedPort");
      if (published.at.port == 0) continue;
      published.container = service;
      for (const char* every : {"0.0.0.0", "::"}) {
        if (!place(published, every, rules)) continue;
        wanted.emplace(published.at, published);
      }
    }
  }
}

void add_listeners(WantedPorts& wanted, const std::vector<Listener>& listeners, const json::array& containers,
                   const PortRules& rules) {
  for (const Listener& listener : listeners) {
    std::vector<std::string> here;
    if (listener.address == asio::ip::address_v4::loopback() || listener.address == asio::ip::address_v6::loopback())
      here = {listener.address.to_string()};
    // A listener on every IPv6 address nearly always accepts IPv4, too; the agent cannot say when it does not.
    if (listener.address == asio::ip::address_v4::any()) here = {"0.0.0.0"};
    if (listener.address == asio::ip::address_v6::any()) here = {"0.0.0.0", "::"};
    for (const std::string& said : here) {
      PublishedPort port;
      port.at = {listener.protocol, {}, listener.port};
      port.private_port = listener.port;
      port.of_listener = true;
      if (!place(port, said, rules)) continue;
      port.container = std::make_shared<const Container>(listening_container(listener, containers));
      const HostPort key = port.at;
      wanted.emplace(key, std::move(port));
    }
  }
}

std::size_t keep_to_limit(WantedPorts& wanted, std::size_t limit, std::size_t most_sockets,
                          const std::function<bool(const HostPort&)>& is_open) {
  std::set<HostPort> counted;
  std::size_t sockets = 0;
  for (const bool open : {true, false}) {
    for (auto& [at, port] : wanted) {
      if (port.refused != Refusal::none || is_open(at) != open) continue;
      const HostPort one = counted_as(at);
      if (!counted.contains(one) && counted.size() >= limit) {
        port.refused = Refusal::limit;
      } else if (sockets >= most_sockets) {
        port.refused = Refusal::files;
      } else {
        counted.insert(one);
        ++sockets;
      }
    }
  }
  constexpr std::size_t most_told = 100;
  struct Told {
    PublishedPort* port;
    std::set<HostPort> counted;
  };
  std::map<std::pair<std::string_view, Refusal>, Told> told;
  std::set<HostPort> untold;
  for (auto one = wanted.begin(); one != wanted.end();) {
    PublishedPort& port = one->second;
    bool stays = true;
    if (port.refused != Refusal::none) {
      const std::pair key(std::string_view(port.container->id), port.refused);
      const auto known = told.find(key);
      stays = known == told.end() && told.size() < most_told;
      if (stays) {
        told.emplace(key, Told{&port, {counted_as(port.at)}});
      } else {
        (known == told.end() ? untold : known->second.counted).insert(counted_as(port.at));
      }
    }
    one = stays ? std::next(one) : wanted.erase(one);
  }
  for (const auto& [key, one] : told) one.port->more = one.counted.size() - 1;
  return untold.size();
}

std::pair<std::uint16_t, std::uint16_t> ephemeral_ports(std::string_view machine,
                                                        std::pair<std::uint16_t, std::uint16_t> connection_ports) {
  constexpr int lowest = 20000, most = 16384;   // far from the numbers that people choose
  constexpr int step = 256, enough = 8 * step;  // between the places where machines begin
  const auto [first, last] = connection_ports;
  // Linux leaves 61000 to 65535 above its own, macOS nothing: there it is 32768 to 49151.
  const bool above = 65535 - last >= enough;
  const int end = above ? 65535 : first - 1;
  const int begin = above ? last + 1 : std::max(lowest, first - most);
  if (end - begin < step) return connection_ports;
  boost::crc_32_type hash;
  hash.process_bytes(machine.data(), machine.size());
  const int place = static_cast<int>(hash.checksum() % static_cast<unsigned>((end - begin + 1) / step));
  return {static_cast<std::uint16_t>(begin + place * step), static_cast<std::uint16_t>(end)};
}

}  // namespace cl
