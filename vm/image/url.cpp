#include "vm/image/url.hpp"

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "src/base/error.hpp"
#include "src/base/text.hpp"

namespace cl {
namespace {

std::string lower(std::string_view text) {
  std::string copy(text);
  std::transform(copy.begin(), copy.end(), copy.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return copy;
}

std::string_view default_port(std::string_view scheme) { return scheme == "https" ? "443" : "80"; }

bool is_port(std::string_view text) {
  const auto number = whole_number<unsigned>(text);
  return number && *number >= 1 && *number <= 65535;
}

std::string bracketed(const std::string& host) { return host.find(':') == std::string::npos ? host : "[" + host + "]"; }

bool is_loopback(std::string_view host) {
  return host == "localhost" || host.ends_with(".localhost") || host == "::1" || host.starts_with("127.");
}

/// Whether one entry of no_proxy covers the host: itself, or what is below it.
bool covers(std::string_view entry, const Url& url) {
  while (entry.starts_with(' ')) entry.remove_prefix(1);
  while (entry.ends_with(' ')) entry.remove_suffix(1);
  if (entry == "*") return true;
  std::string name = lower(entry);
  if (const auto colon = name.rfind(':'); colon != std::string::npos && name.find(':') == colon) {
    if (name.substr(colon + 1) != url.port) return false;
    name.erase(colon);
  }
  if (name.starts_with("*.")) name.erase(0, 1);
  if (name.starts_with('.')) name.erase(0, 1);
  if (name.empty()) return false;
  return url.host == name || url.host.ends_with("." + name);
}

std::string variable(const char* small) {
  std::string capital(small);
  std::transform(capital.begin(), capital.end(), capital.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  for (const char* name : {small, capital.c_str()})
    if (const char* value = std::getenv(name); value != nullptr && *value != '\0') return value;
  return {};
}

}  // namespace

std::string Url::authority() const {
  return port == default_port(scheme) ? bracketed(host) : bracketed(host) + ":" + port;
}

std::string Url::endpoint() const { return bracketed(host) + ":" + port; }

std::string Url::str() const { return scheme + "://" + authority() + target; }

std::optional<Url> parse_url(std::string_view text) {
  // What ends a line or a word would end a header too.
  if (std::any_of(text.begin(), text.end(), [](unsigned char c) { return c <= ' ' || c == 127; })) return std::nullopt;
  Url url;
  const auto colon = text.find("://");
  if (colon == std::string_view::npos) return std::nullopt;
  url.scheme = lower(text.substr(0, colon));
  if (url.scheme != "http" && url.scheme != "https") return std::nullopt;
  text.remove_prefix(colon + 3);
  text = text.substr(0, text.find('#'));
  const auto end = std::min(text.find_first_of("/?"), text.size());
  std::string_view authority = text.substr(0, end);
  const std::string_view target = text.substr(end);
  if (!target.empty()) url.target = target.starts_with('?') ? "/" + std::string(target) : std::string(target);
  if (const auto at = authority.rfind('@'); at != std::string_view::npos) {
    url.user_info = authority.substr(0, at);
    authority.remove_prefix(at + 1);
  }
  std::string_view rest;
  if (authority.starts_with('[')) {
    const auto close = authority.find(']');
    if (close == std::string_view::npos) return std::nullopt;
    url.host = lower(authority.substr(1, close - 1));
    if (url.host.find_first_not_of("0123456789abcdef:.") != std::string::npos) return std::nullopt;
    rest = authority.substr(close + 1);
  } else {
    const auto port_at = std::min(authority.find(':'), authority.size());
    url.host = lower(authority.substr(0, port_at));
    rest = authority.substr(port_at);
  }
  if (url.host.empty()) return std::nullopt;
  if (rest.empty() || rest == ":") {
    url.port = default_port(url.scheme);
  } else {
    if (!rest.starts_with(':') || !is_port(rest.substr(1))) return std::nullopt;
    url.port = rest.substr(1);
  }
  return url;
}

std::optional<Url> resolve_url(const Url& base, std::string_view reference) {
  if (reference.empty()) return std::nullopt;
  const auto scheme_end = reference.find_first_of(":/?#");
  if (scheme_end != std::string_view::npos && reference[scheme_end] == ':') return parse_url(reference);
  const std::string origin = base.scheme + "://" + base.authority();
  if (reference.starts_with("//")) return parse_url(base.scheme + ":" + std::string(reference));
  std::string path;
  if (reference.starts_with('/')) {
    path = reference;
  } else {
    const std::string before = base.target.substr(0, base.target.find('?'));
    path = reference.starts_with('?') ? before : before.substr(0, before.rfind('/') + 1);
    path += reference;
  }
  auto resolved = parse_url(origin + path);
  if (resolved) resolved->user_info = base.user_info;  // the same host
  return resolved;
}

ProxySettings proxies_of_environment() {
  ProxySettings settings;
  const std::string all = variable("all_proxy");
  settings.http = variable("http_proxy");
  settings.https = variable("https_proxy");
  if (settings.http.empty()) settings.http = all;
  if (settings.https.empty()) settings.https = all;
  settings.none = variable("no_proxy");
  return settings;
}

std::optional<Url> proxy_for(const ProxySettings& settings, const Url& url) {
  const std::string& chosen = url.scheme == "https" ? settings.https : settings.http;
  if (chosen.empty() || is_loopback(url.host)) return std::nullopt;
  for (std::string_view rest = settings.none; !rest.empty();) {
    const auto comma = std::min(rest.find(','), rest.size());
    if (covers(rest.substr(0, comma), url)) return std::nullopt;
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  // curl and others take "host:port" too.
  auto proxy = parse_url(chosen.find("://") == std::string::npos ? "http://" + chosen : chosen);
  if (!proxy || proxy->scheme != "http")
    throw Error(Errc::invalid_config, "the environment's " + url.scheme + "_proxy is no proxy that can be used",
                "set it to http://HOST:PORT");
  return proxy;
}

}  // namespace cl
