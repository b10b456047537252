#include "docker/port_entry.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>

/// What is said of published ports.
namespace cl {
namespace {

/// The first port that needs no right; 0 when every port is free for all.
int first_free_port() {
  int first = 1024;
  std::ifstream("/proc/sys/net/ipv4/ip_unprivileged_port_start") >> first;
  return first;
}

std::string first_free_text() { return std::to_string(first_free_port()); }

std::string allowed_by_setting(std::string_view key, std::string_view value) {
  return fmt::format("'colima-like config set {} {}' and 'colima-like apply' allow it", key, value);
}

}  // namespace

void PortForward::Entry::refuse(const PortRules& rules) {
  refused.clear();
  allowed_by.clear();
  switch (port.refused) {
    case Refusal::none: return;
    case Refusal::address:
      refused = "network.address is " + rules.widest_address.to_string() + ", which leaves this address out";
      allowed_by = "publish the port without an address; or " + allowed_by_setting("network.address", "0.0.0.0");
      break;
    case Refusal::low:
      refused = fmt::format("ports below {} are not opened", first_ordinary_port);
      allowed_by = fmt::format("publish a port from {} on; or ", first_ordinary_port) +
                   allowed_by_setting("network.low_ports", "true");
      break;
    case Refusal::limit:
      refused = fmt::format("{} ports are published, and no more are opened", rules.limit);
      allowed_by = "publish fewer; or " + allowed_by_setting("network.port_limit", std::to_string(rules.limit * 2));
      break;
    case Refusal::files:
      refused = "published ports take half of the files that the daemon may open, and no more are opened";
      allowed_by = "publish fewer; or raise this user's limit of open files (ulimit -Hn), and restart";
      break;
  }
  if (port.more > 0) refused += fmt::format(" ({} more of its ports neither)", port.more);
}

std::string PortForward::Entry::problem() const {
  if (!refused.empty()) return refused;
  if (!failure) return {};
  if (failure == asio::error::address_in_use)
    return owner.empty() ? "the port is taken on this host" : "the port is taken by " + owner;
  if (failure == asio::error::access_denied) return "this user may not open ports below " + first_free_text();
  if (failure == boost::system::errc::address_not_available)
    return "this host has no address " + port.at.address.to_string();
  return failure.message();
}

std::string PortForward::Entry::remedy() const {
  if (!refused.empty()) return allowed_by;
  if (failure == asio::error::address_in_use)
    return "end what holds it, or publish another port; it is tried again until it is free";
  if (failure == asio::error::access_denied)
    return "publish a port from " + first_free_text() +
           " on, or allow it: sudo sysctl net.ipv4.ip_unprivileged_port_start=" + std::to_string(port.at.port);
  if (failure == boost::system::errc::address_not_available)
    return "publish an address of this host; it is tried again until there is one";
  return {};
}

std::vector<PortStatus> PortForward::ports() const {
  std::vector<PortStatus> all;
  all.reserve(entries_.size());
  for (const auto& [at, entry] : entries_) {
    PortStatus status;
    status.at = at;
    status.container = entry->port.container->name;
    status.container_id = entry->port.container->id;
    status.problem = entry->problem();
    status.remedy = entry->remedy();
    status.connections = entry->connections;
    status.to_container = entry->traffic->a_to_b;
    status.from_container = entry->traffic->b_to_a;
    status.since = entry->since;
    all.push_back(std::move(status));
  }
  return all;
}

std::string PortForward::taken(std::string_view container) const {
  for (const auto& [at, entry] : entries_) {
    const Container& of = *entry->port.container;
    if (of.name != container && !of.id.starts_with(container)) continue;
    const std::string endpoint = at.address.is_v6() ? "[" + at.address.to_string() + "]" : at.address.to_string();
    if (!entry->refused.empty() && !entry->port.of_listener)
      return fmt::format("Bind for {}:{} failed: {}; {}", endpoint, at.port, entry->refused, entry->allowed_by);
    if (entry->failure != asio::error::address_in_use) continue;
    return fmt::format("Bind for {}:{} failed: port is already allocated{}", endpoint, at.port,
                       entry->owner.empty() ? " on this computer" : ": " + entry->owner + " has it on this computer");
  }
  return {};
}

PortCounters PortForward::counters() const {
  PortCounters all{0, last_activity_};
  for (const auto& [at, entry] : entries_) {
    all.connections += entry->connections;
    all.last_activity = std::max(all.last_activity, entry->traffic->last);
  }
  return all;
}

std::vector<std::string> PortForward::problems() const {
  std::vector<std::string> lines;
  if (failures_ + refusals_ == 0) return lines;
  for (const auto& [at, entry] : entries_)
    if (!entry->served()) lines.push_back(at.str() + " of " + entry->port.container->name + ": " + entry->problem());
  if (untold_ > 0) lines.push_back(fmt::format("and {} ports more are not opened", untold_));
  return lines;
}

}  // namespace cl
