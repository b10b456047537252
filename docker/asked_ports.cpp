#include "docker/asked_ports.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <set>
#include <string>

#include "src/base/async.hpp"
#include "src/base/error.hpp"
#include "src/base/json.hpp"

namespace cl {
namespace {

namespace json = boost::json;

/// {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}
std::size_t bound(const json::object& bindings) {
  std::set<std::string, std::less<>> numbers;
  std::size_t without_number = 0;
  for (const auto& [port, places] : bindings) {
    if (!places.is_array()) continue;
    const std::string_view protocol = std::string_view(port).substr(std::min(port.size(), port.find('/')));
    for (const json::value& place : places.get_array()) {
      const std::string_view number = text_at(place, "HostPort");
      if (number.empty() || number == "0") ++without_number;
      if (!number.empty() && number != "0") numbers.insert(fmt::format("{}{}", number, protocol));
    }
  }
  return numbers.size() + without_number;
}

}  // namespace

std::size_t asked_ports(std::string_view body) {
  error_code ec;
  const json::value call = json::parse(body, ec);
  if (ec) return 0;
  const json::value* bindings = find_at(find_at(&call, "HostConfig"), "PortBindings");
  if (bindings != nullptr && bindings->is_object()) return bound(bindings->get_object());
  const json::value* ports = find_at(find_at(&call, "EndpointSpec"), "Ports");
  return ports != nullptr && ports->is_array() ? ports->get_array().size() : 0;
}

void check_asked_ports(std::string_view body, std::size_t limit) {
  const std::size_t asked = asked_ports(body);
  if (asked <= limit) return;
  throw Error(Errc::invalid_config,
              fmt::format("{} ports are to be published, and no more than {} are opened", asked, limit),
              fmt::format("publish fewer; or 'colima-like config set network.port_limit {}' and 'colima-like apply' "
                          "allow it",
                          asked));
}

}  // namespace cl
