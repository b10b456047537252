#include "profiles/egress.hpp"

#include <arpa/inet.h>

#include <algorithm>

#include "src/base/text.hpp"

namespace cl {
namespace {

constexpr std::size_t longest_name = 253;  // RFC 1035, 2.3.4
constexpr std::size_t longest_label = 63;

std::string wrong_item(std::string_view text) {
  constexpr std::string_view of_names = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-.*";
  if (text.find('.') != std::string_view::npos && text.find_first_not_of(of_names) == std::string_view::npos)
    return "must say the port, too, such as '" + std::string(text) + ":443', or ':*' for each";
  return "must be NAME:PORT, *.NAME:PORT or ADDRESS:PORT, or none alone, not '" + std::string(text) + "'";
}

bool is_ipv4(const std::string& text) {
  in_addr address{};
  return ::inet_pton(AF_INET, text.c_str(), &address) == 1;
}

bool is_name(std::string_view name) {
  if (name.empty() || name.size() > longest_name) return false;
  while (true) {
    const std::string_view label = name.substr(0, name.find('.'));
    const bool fits = !label.empty() && label.size() <= longest_label;
    if (!fits || label.front() == '-' || label.back() == '-') return false;
    if (label.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-_") != std::string_view::npos) return false;
    if (label.size() == name.size()) return true;
    name.remove_prefix(label.size() + 1);
  }
}

}  // namespace

std::optional<std::string> parse_egress_rule(std::string_view text, EgressRule& rule) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return wrong_item(text);
  const std::string_view port = text.substr(colon + 1);
  rule = {};
  if (port != "*") {
    const auto number = whole_number<int>(port);
    if (!number || *number < 1 || *number > 65535) return wrong_item(text);
    rule.port = static_cast<std::uint16_t>(*number);
  }
  std::string host(text.substr(0, colon));
  std::transform(host.begin(), host.end(), host.begin(), [](unsigned char c) { return std::tolower(c); });
  rule.below = host.starts_with("*.");
  rule.host = rule.below ? host.substr(2) : host;
  rule.is_address = !rule.below && is_ipv4(rule.host);
  const bool digits_alone = rule.host.find_first_not_of("0123456789.") == std::string::npos;
  // What getaddrinfo(3) takes for an address in another form: 127.1, 0x7f000001.
  if (!rule.is_address && (!is_name(rule.host) || digits_alone || rule.host.starts_with("0x"))) return wrong_item(text);
  if (rule.host == "localhost" || rule.host.ends_with(".localhost") || rule.host == "host.docker.internal" ||
      (rule.is_address && (rule.host.starts_with("127.") || rule.host.starts_with("0."))))
    return "cannot be this computer itself, which network.host_access is about: '" + std::string(text) + "'";
  if (rule.is_address && rule.host.starts_with("169.254."))
    return "cannot be a link-local address: '" + std::string(text) + "'";
  return std::nullopt;
}

std::optional<std::string> wrong_egress(std::string_view text) {
  EgressRule rule;
  return text == "none" ? std::nullopt : parse_egress_rule(text, rule);
}

std::optional<std::string> wrong_host_access(std::string_view text) {
  if (text == "all" || text == "none") return std::nullopt;
  const auto number = whole_number<int>(text);
  if (number && *number >= 1 && *number <= 65535) return std::nullopt;
  return "must be all, none or ports of this computer, not '" + std::string(text) + "'";
}

Egress egress_of(const Profile& profile) {
  Egress egress;
  egress.host_all = profile.host_access == std::vector<std::string>{"all"};
  for (const std::string& port : profile.host_access)
    if (const auto number = whole_number<int>(port)) egress.host_ports.insert(static_cast<std::uint16_t>(*number));
  if (profile.egress == std::vector<std::string>{"none"}) {
    egress.mode = Egress::Mode::closed;
    return egress;
  }
  egress.any_public = profile.egress.empty();
  if (egress.any_public && egress.host_all) return egress;
  egress.mode = Egress::Mode::filtered;
  for (const std::string& item : profile.egress)
    if (EgressRule rule; !parse_egress_rule(item, rule)) egress.rules.push_back(std::move(rule));
  return egress;
}

}  // namespace cl
