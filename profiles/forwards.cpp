#include "profiles/forwards.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <filesystem>

#include "src/base/path.hpp"
#include "src/base/text.hpp"

namespace cl {
namespace json = boost::json;
namespace {

using Wrong = std::optional<std::string>;

constexpr std::string_view usual_address = "127.0.0.1";
constexpr std::size_t longest_socket_path = 107;  // of Linux, where the machine's sockets are

std::string in_quotes(std::string_view text) { return "'" + std::string(text) + "'"; }

bool begins_path(std::string_view text) { return text.starts_with('/') || text == "~" || text.starts_with("~/"); }

bool all_digits(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

bool is_address(int family, const std::string& text) {
  std::array<unsigned char, 16> bytes{};
  return ::inet_pton(family, text.c_str(), bytes.data()) == 1;
}

/// What is before the next colon; `rest` is then what follows it, and nothing when there was none.
std::string_view take_word(std::optional<std::string_view>& rest) {
  const std::string_view text = rest.value_or("");
  const auto colon = text.find(':');
  rest = colon == std::string_view::npos ? std::nullopt : std::optional(text.substr(colon + 1));
  return text.substr(0, colon);
}

Wrong read_port(std::string_view word, ForwardEnd& into) {
  const auto number = all_digits(word) ? whole_number<int>(word) : std::nullopt;
  if (const auto dash = word.find('-');
      dash != std::string_view::npos && all_digits(word.substr(0, dash)) && all_digits(word.substr(dash + 1)))
    return "has a range of ports, " + in_quotes(word) + "; each port is a forward of its own";
  if (!number || *number < 1 || *number > 65535) return "has " + in_quotes(word) + ", which is no port from 1 to 65535";
  into.port = static_cast<std::uint16_t>(*number);
  return std::nullopt;
}

Wrong read_path(std::string_view word, ForwardEnd& into) {
  if (word == "~" || word.ends_with('/')) return "has " + in_quotes(word) + ", which is a folder and no socket in one";
  into.path = word;
  return std::nullopt;
}

/// "[IPv6]:PORT".
Wrong read_v6(std::optional<std::string_view>& rest, ForwardEnd& into) {
  const std::string_view text = rest.value_or("");
  const auto bracket = text.find(']');
  into.address = text.substr(1, bracket == std::string_view::npos ? bracket : bracket - 1);
  if (bracket == std::string_view::npos || !is_address(AF_INET6, into.address))
    return "has " + in_quotes(text.substr(0, bracket == std::string_view::npos ? bracket : bracket + 1)) +
           ", which is no IPv6 address in brackets";
  if (!text.substr(bracket + 1).starts_with(':')) return "has an address without a port, " + in_quotes(into.address);
  rest = text.substr(bracket + 2);
  return read_port(take_word(rest), into);
}

/// PATH, PORT, or ADDRESS:PORT, from the beginning of `rest`.
Wrong read_end(std::optional<std::string_view>& rest, ForwardEnd& into) {
  if (rest.value_or("").starts_with('[')) return read_v6(rest, into);
  const std::string_view word = take_word(rest);
  if (begins_path(word)) return read_path(word, into);
  into.address = usual_address;
  if (all_digits(word)) return read_port(word, into);
  const std::string address(word);
  if (address != "localhost" && !is_address(AF_INET, address)) {
    if (word.empty()) return "has an empty part; an IPv6 address is written in brackets, as [::1]:8080";
    if (word.find_first_not_of("0123456789-") == std::string_view::npos) return read_port(word, into);
    return "has " + in_quotes(word) +
           ", which is no port, no address (names are not looked up) and no path from / or ~ on";
  }
  if (address != "localhost") into.address = address;
  if (!rest) return "has an address without a port, " + in_quotes(word);
  return read_port(take_word(rest), into);
}

/// Takes "/tcp" or "/udp" off the end, unless that is a path's.
Wrong take_protocol(std::string_view& text, Forward& into) {
  const auto colon = text.rfind(':');
  const auto begin = colon == std::string_view::npos ? 0 : colon + 1;
  const auto slash = text.find('/', begin);
  if (begins_path(text.substr(begin)) || slash == std::string_view::npos) return std::nullopt;
  const std::string_view protocol = text.substr(slash + 1);
  if (protocol != "tcp" && protocol != "udp")
    return "has " + in_quotes(protocol) + " for a protocol, which is tcp or udp";
  into.udp = protocol == "udp";
  text = text.substr(0, slash);
  return std::nullopt;
}

/// What each side can have.
Wrong check_ends(const Forward& forward) {
  const ForwardEnd& guest = forward.reverse ? forward.from : forward.to;
  if (guest.path.starts_with('~'))
    return "has " + in_quotes(guest.path) + " in the machine, where a path begins with /";
  if (guest.path.size() > longest_socket_path)
    return "has a unix socket in the machine whose path is longer than " + std::to_string(longest_socket_path) +
           " bytes";
  if (forward.udp && (forward.from.is_socket() || forward.to.is_socket()))
    return "has a unix socket, which carries no udp";
  if (forward.udp && forward.reverse) return "cannot be both udp and reverse; reverse ones are tcp or unix sockets";
  return std::nullopt;
}

/// The place where it listens, in one form for all that mean the same.
ForwardEnd place_of(const Forward& forward) {
  ForwardEnd place = forward.from;
  if (!place.is_socket()) return place;
  const std::filesystem::path path = forward.reverse ? std::filesystem::path(place.path) : expand_home(place.path);
  place.path = path.lexically_normal().string();
  return place;
}

}  // namespace

std::string ForwardEnd::str() const {
  if (is_socket()) return path;
  const bool v6 = address.find(':') != std::string::npos;
  return (v6 ? "[" + address + "]" : address) + ":" + std::to_string(port);
}

bool Forward::same_place(const Forward& other) const {
  return reverse == other.reverse && udp == other.udp && place_of(*this) == place_of(other);
}

std::optional<std::string> parse_forward(std::string_view text, Forward& into) {
  into = {};
  if (text.find_first_of(std::string_view("\n\0", 2)) != std::string_view::npos)
    return "must be a single line: " + std::string(text.substr(0, text.find('\n')));
  std::string_view ends = text;
  if (ends.starts_with(reverse_prefix)) {
    into.reverse = true;
    ends.remove_prefix(reverse_prefix.size());
  }
  if (auto wrong = take_protocol(ends, into)) return *wrong + ": " + in_quotes(text);
  const std::string two = "must have two ends with a colon between, such as 8080:80 or ~/x.sock:/run/x.sock, not ";
  std::optional<std::string_view> rest = ends;
  if (ends.empty()) return two + in_quotes(text);
  if (auto wrong = read_end(rest, into.from)) return *wrong + ": " + in_quotes(text);
  if (!rest) return two + in_quotes(text);
  if (auto wrong = read_end(rest, into.to)) return *wrong + ": " + in_quotes(text);
  if (rest) return "has more than two ends: " + in_quotes(text);
  if (auto wrong = check_ends(into)) return *wrong + ": " + in_quotes(text);
  return std::nullopt;
}

std::optional<std::string> check_forwards(const std::vector<std::string>& items) {
  if (items.size() > most_forwards)
    return "are " + std::to_string(items.size()) + ", and at most " + std::to_string(most_forwards) + " can be";
  std::vector<Forward> all;
  for (const std::string& item : items) {
    Forward one;
    if (auto wrong = parse_forward(item, one)) return wrong;
    for (std::size_t i = 0; i < all.size(); ++i)
      if (all[i].same_place(one)) return "has two that listen at the same place: '" + items[i] + "' and '" + item + "'";
    all.push_back(std::move(one));
  }
  return std::nullopt;
}

std::string in_words(const Forward& forward) {
  const std::string from = forward.from.str(), to = forward.to.str();
  return forward.reverse ? from + " in the machine leads to " + to + " on this host"
                         : from + " on this host leads to " + to + " in the machine";
}

std::vector<std::string> matching_forwards(const std::vector<std::string>& items, std::string_view text, bool reverse) {
  std::vector<std::string> found;
  if (text.starts_with(reverse_prefix)) {
    reverse = true;
    text.remove_prefix(reverse_prefix.size());
  }
  const std::string prefix(reverse ? reverse_prefix : "");
  Forward wanted;
  const bool whole = !parse_forward(prefix + std::string(text), wanted);
  if (!whole) {
    // The place alone: with any other end it is a forward.
    const auto slash = begins_path(text) ? std::string_view::npos : text.rfind('/');
    const std::string protocol(slash == std::string_view::npos ? "" : text.substr(slash));
    if (parse_forward(prefix + std::string(text.substr(0, slash)) + ":1" + protocol, wanted)) return found;
  }
  for (const std::string& item : items) {
    Forward one;
    if (parse_forward(item, one) || !one.same_place(wanted)) continue;
    if (!whole || one == wanted) found.push_back(item);
  }
  return found;
}

json::array to_json(const std::vector<ForwardState>& forwards) {
  json::array all;
  for (const ForwardState& one : forwards)
    all.push_back(
        json::object{{"forward", one.forward}, {"state", one.state}, {"problem", one.problem}, {"remedy", one.remedy}});
  return all;
}

std::vector<ForwardState> forwards_from_json(const json::array& array) {
  std::vector<ForwardState> forwards;
  for (const json::value& value : array)
    forwards.push_back({std::string(value.at("forward").as_string()), std::string(value.at("state").as_string()),
                        std::string(value.at("problem").as_string()), std::string(value.at("remedy").as_string())});
  return forwards;
}

}  // namespace cl
