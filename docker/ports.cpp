#include "docker/ports.hpp"

#include <algorithm>
#include <boost/crc.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <cctype>
#include <optional>
#include <sstream>

#include "src/base/json.hpp"

namespace cl {
namespace json = boost::json;
namespace {

const json::value* find(const json::value& in, std::string_view key) {
  return in.is_object() ? in.get_object().if_contains(key) : nullptr;
}

std::uint16_t port(const json::value& in, std::string_view key) {
  const json::value* value = find(in, key);
  if (value == nullptr || !value->is_int64() || value->get_int64() < 0 || value->get_int64() > 65535) return 0;
  return static_cast<std::uint16_t>(value->get_int64());
}

Container read_container(const json::value& from) {
  Container container;
  container.id = text_at(from, "Id");
  // "/name", and "/other/alias" for links.
  if (const json::value* names = find(from, "Names"); names != nullptr && names->is_array())
    for (const json::value& name : names->get_array())
      if (name.is_string() && std::string_view(name.get_string()).find('/', 1) == std::string_view::npos)
        container.name = std::string_view(name.get_string()).substr(1);
  const json::value* settings = find(from, "NetworkSettings");
  const json::value* networks = settings != nullptr ? find(*settings, "Networks") : nullptr;
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

/// Nothing for what is no address, and for the family that the default address does not have.
std::optional<asio::ip::address> host_address(const std::string& said, const PortRules& rules) {
  error_code ec;
  // An engine without IPv6 leaves the field out.
  asio::ip::address address = asio::ip::make_address(said.empty() ? "0.0.0.0" : said, ec);
  if (ec) return std::nullopt;
  const asio::ip::address& instead = rules.default_address;
  if (!address.is_unspecified() || instead.is_unspecified()) return address;
  if (instead.is_v6() == address.is_v6()) return instead;
  if (!instead.is_loopback()) return std::nullopt;
  if (address.is_v6()) return asio::ip::address_v6::loopback();
  return asio::ip::address_v4::loopback();
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
    const json::value* ports = find(one, "Ports");
    if (ports == nullptr || !ports->is_array()) continue;
    std::shared_ptr<const Container> container;
    for (const json::value& entry : ports->get_array()) {
      PublishedPort published;
      published.at.port = port(entry, "PublicPort");
      published.private_port = port(entry, "PrivatePort");
      const std::string type(text_at(entry, "Type"));
      if (published.at.port == 0 || published.private_port == 0 || (type != "tcp" && type != "udp")) continue;
      published.at.protocol = type == "udp" ? Protocol::udp : Protocol::tcp;
      const auto address = host_address(std::string(text_at(entry, "IP")), rules);
      if (!address) continue;
      published.at.address = *address;
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
    const json::value* spec = find(one, "Spec");
    const json::value* given = find(one, "Endpoint");
    if (given == nullptr || find(*given, "Ports") == nullptr)
      given = spec != nullptr ? find(*spec, "EndpointSpec") : nullptr;
    const json::value* ports = given != nullptr ? find(*given, "Ports") : nullptr;
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
        const auto address = host_address(every, rules);
        if (!address) continue;
        published.at.address = *address;
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
      const auto address = host_address(said, rules);
      if (!address) continue;
      PublishedPort port;
      port.at = {listener.protocol, *address, listener.port};
      port.private_port = listener.port;
      port.container = std::make_shared<const Container>(listening_container(listener, containers));
      const HostPort key = port.at;
      wanted.emplace(key, std::move(port));
    }
  }
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
