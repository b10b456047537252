#include "src/egress/first_bytes.hpp"

#include <algorithm>
#include <cctype>
#include <optional>

#include "src/base/text.hpp"

namespace cl {
namespace {

using Kind = FirstBytes::Kind;

/// Takes numbers and pieces off the front of bytes, and notes when there are not as many.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}
  std::size_t number(std::size_t size) {
    std::size_t value = 0;
    for (const char byte : take(size)) value = value << 8 | static_cast<unsigned char>(byte);
    return value;
  }
  std::string_view take(std::size_t size) {
    if (size > bytes_.size()) {
      short_ = true;
      bytes_ = {};
      return {};
    }
    const std::string_view piece = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return piece;
  }
  /// What stands behind its own length of so many bytes.
  std::string_view block(std::size_t length_size) { return take(number(length_size)); }
  bool is_short() const { return short_; }
  bool empty() const { return bytes_.empty(); }

 private:
  std::string_view bytes_;
  bool short_ = false;
};

std::string lower(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(), [](unsigned char c) { return std::tolower(c); });
  if (result.ends_with('.')) result.pop_back();
  return result;
}

/// Of a ClientHello's extensions; nothing when it has none, or two.
std::string server_name(std::string_view extensions) {
  Reader all(extensions);
  std::optional<std::string> found;
  while (!all.empty()) {
    const std::size_t type = all.number(2);
    const std::string_view body = all.block(2);
    if (all.is_short() || type != 0) continue;
    Reader list(Reader(body).block(2));
    while (!list.empty()) {
      const std::size_t name_type = list.number(1);
      const std::string_view name = list.block(2);
      if (list.is_short() || name_type != 0) continue;
      if (found) return "";
      found = lower(name);
    }
  }
  return found.value_or("");
}

/// A ClientHello may come in several records, and each record in several pieces.
FirstBytes look_at_tls(std::string_view bytes) {
  constexpr std::size_t handshake = 22, client_hello = 1;
  std::string message;
  Reader records(bytes);
  while (true) {
    const std::size_t type = records.number(1);
    records.take(2);
    const std::string_view fragment = records.block(2);
    if (records.is_short()) return {bytes.size() < most_first_bytes ? Kind::more : Kind::tls, "", 0};
    if (type != handshake) return {Kind::tls, "", 0};
    message += fragment;
    Reader whole(message);
    const std::size_t what = whole.number(1);
    Reader hello(whole.block(3));
    if (!message.empty() && what != client_hello) return {Kind::tls, "", 0};
    if (whole.is_short()) continue;
    hello.take(2 + 32);  // version and random
    hello.block(1);      // session
    hello.block(2);      // ciphers
    hello.block(1);      // compression
    const std::string_view extensions = hello.block(2);
    return {Kind::tls, hello.is_short() ? "" : server_name(extensions), 0};
  }
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

bool is_text(char c) { return c == '\t' || c == '\r' || (c >= ' ' && c < 0x7f); }

struct Authority {
  std::string host;
  std::uint16_t port = 0;
};

/// "host:port", "[::1]:80" or "host"; nothing for what servers may read in several ways.
std::optional<Authority> read_authority(std::string_view text) {
  const std::size_t end = text.starts_with('[') ? text.find(']') + 1 : std::min(text.find(':'), text.size());
  Authority read{lower(text.substr(0, end)), 0};
  const std::string_view port = text.substr(end);
  if (port.size() > 1) {
    const auto number = whole_number<int>(port.substr(1));
    if (port.front() != ':' || !number || *number < 1 || *number > 65535) return std::nullopt;
    read.port = static_cast<std::uint16_t>(*number);
  } else if (!port.empty()) {
    return std::nullopt;
  }
  constexpr std::string_view of_hosts = "abcdefghijklmnopqrstuvwxyz0123456789-._[]:";
  if (read.host.empty() || read.host.find_first_not_of(of_hosts) != std::string::npos) return std::nullopt;
  return read;
}

std::string_view without_empty_lines(std::string_view bytes) {
  return bytes.substr(std::min(bytes.find_first_not_of("\r\n"), bytes.size()));
}

/// Whether these bytes are the begin of a request: a line of text, the first one that is not empty, that speaks of
/// HTTP. Nothing as long as it cannot be said.
std::optional<bool> is_request(std::string_view bytes) {
  const bool at_limit = bytes.size() >= most_first_bytes;
  bytes = without_empty_lines(bytes);
  const std::string_view line = bytes.substr(0, bytes.find('\n'));
  if (!std::all_of(line.begin(), line.end(), &is_text)) return false;
  if (line.size() == bytes.size()) return at_limit ? std::optional(true) : std::nullopt;
  const std::string low = lower(line);
  return low.find("http/") != std::string::npos || low.find("http:") != std::string::npos ||
         low.find("https:") != std::string::npos;
}

/// Of a request's first line; nothing when it is not a method, a target and a version with one space between.
struct RequestLine {
  std::optional<Authority> to;  ///< of a request to a proxy
};
std::optional<RequestLine> read_request_line(std::string_view line) {
  const std::size_t first = line.find(' '), last = line.rfind(' ');
  if (first == 0 || first == std::string_view::npos || last == first) return std::nullopt;
  const std::string_view method = line.substr(0, first), version = line.substr(last + 1);
  const std::string_view target = line.substr(first + 1, last - first - 1);
  if (!version.starts_with("HTTP/1.") || target.empty() || target.find_first_of(" \t\\") != std::string_view::npos)
    return std::nullopt;
  if (method.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ-") != std::string_view::npos) return std::nullopt;
  constexpr std::string_view scheme = "http://";
  RequestLine read;
  if (method == "CONNECT") {
    read.to = read_authority(target);
  } else if (target.starts_with(scheme)) {
    read.to = read_authority(target.substr(scheme.size(), target.find_first_of("/?#", scheme.size()) - scheme.size()));
  } else {
    return target.front() == '/' || target == "*" ? std::optional(read) : std::nullopt;
  }
  if (!read.to) return std::nullopt;
  constexpr std::uint16_t of_http = 80, of_https = 443;
  if (read.to->port == 0) read.to->port = method == "CONNECT" ? of_https : of_http;
  return read;
}

/// By its target, when that says it, and by its one Host. What servers could read in another way says nothing.
FirstBytes where_a_request_goes(std::string_view head) {
  FirstBytes nothing{Kind::http, "", 0};
  std::optional<RequestLine> first;
  std::optional<Authority> host;
  while (!head.empty()) {
    std::string_view line = head.substr(0, head.find('\n'));
    head.remove_prefix(std::min(head.size(), line.size() + 1));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.find_first_of(std::string_view("\r\0", 2)) != std::string_view::npos) return nothing;
    if (!first) {
      first = read_request_line(line);
      if (!first) return nothing;
      continue;
    }
    const std::string name = lower(line.substr(0, line.find(':')));
    if (name.size() == line.size() || name.empty() || name.find_first_of(" \t") != std::string::npos) return nothing;
    if (name != "host") continue;
    const auto read = read_authority(trimmed(line.substr(name.size() + 1)));
    if (!read || (host && host->host != read->host)) return nothing;
    host = read;
  }
  if (!first || (first->to && host && first->to->host != host->host)) return nothing;
  if (first->to) return {Kind::http, first->to->host, first->to->port};
  return host ? FirstBytes{Kind::http, host->host, 0} : nothing;
}

FirstBytes look_at_http(std::string_view bytes) {
  const bool at_limit = bytes.size() >= most_first_bytes;
  bytes = without_empty_lines(bytes);
  const std::size_t end = std::min(bytes.find("\n\r\n"), bytes.find("\n\n"));
  if (end == std::string_view::npos) return {at_limit ? Kind::http : Kind::more, "", 0};
  return where_a_request_goes(bytes.substr(0, end));
}

/// A record of TLS, of whatever version it says it is, and the hello of SSL 2: some servers begin with less than
/// others.
bool looks_like_tls(std::string_view bytes) {
  constexpr unsigned char first_type = 0x14, last_type = 0x17;
  const auto type = static_cast<unsigned char>(bytes[0]);
  if (type >= first_type && type <= last_type) return true;
  return (type & 0x80) != 0 && bytes.size() > 2 && bytes[2] == 1;
}

}  // namespace

FirstBytes look_at_first_bytes(std::string_view bytes, bool is_all) {
  FirstBytes unknown{is_all ? Kind::other : Kind::more, "", 0};
  if (bytes.empty()) return unknown;
  const bool may_be_ssl2 = (static_cast<unsigned char>(bytes[0]) & 0x80) != 0 && bytes.size() < 3;
  if (may_be_ssl2) return unknown;
  FirstBytes first;
  if (looks_like_tls(bytes)) {
    constexpr char handshake = 0x16, major = 3;
    if (bytes[0] == handshake && bytes.size() < 2) return unknown;
    if (bytes[0] != handshake || bytes[1] != major) return {Kind::tls, "", 0};
    first = look_at_tls(bytes);
    if (is_all && first.kind == Kind::more) first.kind = Kind::tls;
    return first;
  }
  const auto request = is_request(bytes);
  if (!request) return unknown;
  if (!*request) return {Kind::other, "", 0};
  first = look_at_http(bytes);
  if (is_all && first.kind == Kind::more) first.kind = Kind::http;
  return first;
}

}  // namespace cl
