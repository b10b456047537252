#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace cl {

/// An http or https URL, taken apart.
struct Url {
  std::string scheme;     ///< "http" or "https"
  std::string user_info;  ///< "user:password" as it is to be sent, or empty
  std::string host;       ///< lower case; an IPv6 address without its brackets
  std::string port;       ///< always there
  std::string target = "/";

  /// For people and logs: without user and password.
  std::string str() const;
  /// "host" or "host:port", as a Host header says it.
  std::string authority() const;
  /// "host:port", as CONNECT wants it.
  std::string endpoint() const;
  bool operator==(const Url&) const = default;
};

/// Nothing for what is no such URL. A fragment is dropped. Pure, as all of these.
std::optional<Url> parse_url(std::string_view text);

/// Where a Location header leads from `base`: absolute, or from the host or the folder on.
std::optional<Url> resolve_url(const Url& base, std::string_view reference);

/// The proxy variables of the environment.
struct ProxySettings {
  std::string http, https;  ///< URLs; empty = none
  std::string none;         ///< "a,.b,*": what is reached directly
};
/// http_proxy, https_proxy, all_proxy and no_proxy; in capitals too, where the small ones are not set.
ProxySettings proxies_of_environment();

/// The proxy that a request goes through, or nothing. This host's own loopback is always reached directly.
/// Throws Error{invalid_config} when the variable holds no http URL.
std::optional<Url> proxy_for(const ProxySettings& settings, const Url& url);

}  // namespace cl
