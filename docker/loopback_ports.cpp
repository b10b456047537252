#include "docker/loopback_ports.hpp"

#include <algorithm>
#include <boost/json.hpp>

#include "src/base/error.hpp"

namespace cl {
namespace json = boost::json;
namespace {

constexpr std::string_view loopback = "127.0.0.1";
constexpr const char* remedy =
    "publish it by -p PORT:PORT, which appears on this computer alone; 'colima-like config set network.address "
    "0.0.0.0' "
    "lets the host's network have all of them";

const json::value* find(const json::value& in, std::string_view name) {
  return in.is_object() ? in.get_object().if_contains(name) : nullptr;
}

bool is_on_loopback(const json::value& binding) {
  const json::value* address = find(binding, "HostIp");
  if (address == nullptr || !address->is_string()) return false;
  const std::string_view text = address->get_string();
  return text.starts_with("127.") || text == "::1";
}

void refuse(std::string_view what) {
  throw Error(Errc::invalid_config, std::string(what) + " would open its ports to the network of the host", remedy);
}

bool same_header(std::string_view line, std::string_view name) {
  if (line.size() <= name.size() || line[name.size()] != ':') return false;
  for (std::size_t i = 0; i < name.size(); ++i) {
    const char c = line[i];
    const char lower = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    if (lower != name[i]) return false;
  }
  return true;
}

}  // namespace

std::optional<std::string> with_ports_on_loopback(std::string_view target, const std::string& body) {
  boost::system::error_code none;
  json::value call = json::parse(body, none);
  if (none || !call.is_object()) return std::nullopt;  // the engine's own matter
  if (target.starts_with("/services/")) {
    const json::value* endpoint = find(call, "EndpointSpec");
    const json::value* ports = endpoint != nullptr ? find(*endpoint, "Ports") : nullptr;
    if (ports != nullptr && ports->is_array() && !ports->get_array().empty()) refuse("a service");
    return std::nullopt;
  }
  json::value* host = call.get_object().if_contains("HostConfig");
  if (target != "/containers/create" || host == nullptr || !host->is_object()) return std::nullopt;
  if (const json::value* all = find(*host, "PublishAllPorts"); all != nullptr && all->is_bool() && all->get_bool())
    refuse("a container with -P");
  json::value* bindings = host->get_object().if_contains("PortBindings");
  if (bindings == nullptr || !bindings->is_object()) return std::nullopt;
  bool changed = false;
  for (auto& [port, list] : bindings->get_object()) {
    if (!list.is_array()) continue;
    if (list.get_array().empty()) list.get_array().push_back(json::object{{"HostPort", ""}});
    for (json::value& binding : list.get_array()) {
      if (!binding.is_object() || is_on_loopback(binding)) continue;
      binding.get_object()["HostIp"] = loopback;
      changed = true;
    }
  }
  if (!changed) return std::nullopt;
  return json::serialize(call);
}

std::string head_for_body(std::string_view head, std::size_t size) {
  std::string out;
  while (!head.empty()) {
    const std::string_view line = head.substr(0, head.find("\r\n"));
    head.remove_prefix(std::min(head.size(), line.size() + 2));
    if (line.empty() || same_header(line, "content-length") || same_header(line, "transfer-encoding")) continue;
    out += line;
    out += "\r\n";
  }
  return out + "Content-Length: " + std::to_string(size) + "\r\n\r\n";
}

}  // namespace cl
