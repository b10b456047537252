#include "profiles/key_values.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <charconv>
#include <numeric>

#include "profiles/egress.hpp"
#include "profiles/forwards.hpp"
#include "profiles/hidden.hpp"
#include "profiles/image_ref.hpp"
#include "profiles/keys.hpp"
#include "profiles/networks.hpp"
#include "profiles/shares.hpp"
#include "src/base/text.hpp"

namespace cl::values {
namespace json = boost::json;

namespace {

constexpr std::chrono::seconds least_idle = std::chrono::seconds(10);
constexpr std::chrono::seconds most_idle = std::chrono::hours(24 * 365);
constexpr std::array<std::string_view, 3> fields{"script", "mode", "when"};
/// What would take the engine away from under us, or put its data where it is lost with the machine.
constexpr std::array<std::string_view, 6> ours{"hosts", "data-root", "exec-root", "pidfile", "containerd", "group"};

Wrong wrong_forward(std::string_view text) {
  Forward forward;
  return parse_forward(text, forward);
}

/// A word that stands for everything or nothing stands alone.
Wrong set_list_or_word(std::vector<std::string>& target, std::string_view text,
                       std::initializer_list<std::string_view> words, Wrong (*wrong_item)(std::string_view)) {
  std::vector<std::string> items;
  if (auto wrong = set_list(items, text, wrong_item)) return wrong;
  for (const std::string_view word : words)
    if (items.size() > 1 && std::find(items.begin(), items.end(), word) != items.end())
      return quoted(word) + " must be alone";
  target = std::move(items);
  return std::nullopt;
}

}  // namespace

std::string quoted(std::string_view text) { return "'" + std::string(text) + "'"; }

Wrong set_cpus(Profile& profile, std::string_view text) {
  const auto number = whole_number<int>(text);
  if (!number || *number < 1) return "must be a whole number from 1, not " + quoted(text);
  profile.cpus = *number;
  return std::nullopt;
}

Wrong set_size(ByteSize& target, std::string_view text, ByteSize least, ByteSize most) {
  const auto size = ByteSize::parse(text);
  if (!size) return "must be a size such as 4GiB or 512MiB, not " + quoted(text);
  if (*size < least) return "must be at least " + least.str() + ", not " + quoted(text);
  if (*size > most) return "must be at most " + most.str() + ", not " + quoted(text);
  target = *size;
  return std::nullopt;
}

std::string exact(ByteSize size) {
  for (const auto& [shift, unit] : {std::pair{30, "GiB"}, {20, "MiB"}, {10, "KiB"}})
    if (size.count() >> shift << shift == size.count()) return std::to_string(size.count() >> shift) + unit;
  return std::to_string(size.count()) + "B";
}

Wrong wrong_word(std::span<const std::string_view> names, std::string_view text) {
  return "must be " + or_list(names) + ", not " + quoted(text);
}

Wrong set_word(std::string& target, std::string_view text, std::span<const std::string_view> names) {
  if (std::find(names.begin(), names.end(), text) == names.end()) return wrong_word(names, text);
  target = text;
  return std::nullopt;
}

Wrong set_boolean(bool& target, std::string_view text) {
  if (text != "true" && text != "false") return "must be true or false, not " + quoted(text);
  target = text == "true";
  return std::nullopt;
}

Wrong set_rosetta(Profile& profile, std::string_view text) {
  if (text == "true") text = "on";
  if (text == "false") text = "off";
  return set_word(profile.rosetta, text);
}

Wrong set_idle(std::chrono::seconds& target, std::string_view text) {
  if (text == "off") {
    target = {};
    return std::nullopt;
  }
  int number = 0;
  const auto [stop, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit = text.substr(static_cast<std::size_t>(stop - text.data()));
  const std::int64_t seconds = unit == "s" ? 1 : unit == "m" ? 60 : unit == "h" ? 3600 : 0;
  if (failure != std::errc{} || seconds == 0)
    return "must be a time such as 90s, 15m or 2h, or off, not " + quoted(text);
  const std::chrono::seconds duration(seconds * number);
  if (duration < least_idle || duration > most_idle)
    return "must be from " + duration_text(least_idle) + " to " + duration_text(most_idle) + ", or off, not " +
           quoted(text);
  target = duration;
  return std::nullopt;
}

Wrong wrong_address(std::string_view text) {
  std::array<unsigned char, 16> bytes{};
  const std::string address(text);
  if (::inet_pton(AF_INET, address.c_str(), bytes.data()) == 1 ||
      ::inet_pton(AF_INET6, address.c_str(), bytes.data()) == 1)
    return std::nullopt;
  return "must be an IP address, not " + quoted(text);
}

Wrong wrong_share(std::string_view text) {
  ShareItem item;
  return parse_share(text, item);
}

Wrong wrong_hide(std::string_view text) {
  HideItem item;
  return parse_hide(text, item);
}

Wrong set_list(std::vector<std::string>& target, std::string_view text, Wrong (*wrong_item)(std::string_view)) {
  std::vector<std::string> items;
  if (text.starts_with('[')) {
    boost::system::error_code ec;
    const json::value parsed = json::parse(text, ec);
    if (ec || !parsed.is_array()) return "must be a list such as [a, b], not " + quoted(text);
    for (const json::value& item : parsed.get_array()) {
      if (!item.is_string()) return "must be a list of single values";
      items.emplace_back(item.get_string());
    }
  } else {
    for (std::string_view rest = text; !rest.empty();) {
      const auto comma = std::min(rest.find(','), rest.size());
      items.emplace_back(rest.substr(0, comma));
      rest.remove_prefix(std::min(comma + 1, rest.size()));
    }
  }
  for (const std::string& item : items)
    if (auto wrong = wrong_item(item)) return wrong;
  target = std::move(items);
  return std::nullopt;
}

Wrong set_egress(Profile& profile, std::string_view text) {
  return set_list_or_word(profile.egress, text, {"none"}, &wrong_egress);
}

Wrong set_host_access(Profile& profile, std::string_view text) {
  if (text.empty() || text == "[]") text = "none";
  return set_list_or_word(profile.host_access, text, {"all", "none"}, &wrong_host_access);
}

Wrong set_forwards(Profile& profile, std::string_view text) {
  std::vector<std::string> items;
  if (auto wrong = set_list(items, text, &wrong_forward)) return wrong;
  if (auto wrong = check_forwards(items)) return wrong;
  profile.forwards = std::move(items);
  return std::nullopt;
}

Wrong set_tools(Profile& profile, std::string_view text) {
  std::string wrong;
  const bool word = text == "auto" || text == "none";
  if (!word && !is_location(text)) return "must be auto, none, or a URL or path with its digest, not " + quoted(text);
  if (!word && !parse_file_ref(text, "containerd.tools", wrong)) return wrong;
  profile.containerd_tools = text;
  return std::nullopt;
}

Wrong set_map(std::map<std::string, std::string>& target, std::string_view text,
              Wrong (*wrong_entry)(std::string_view name, std::string_view value)) {
  std::map<std::string, std::string> entries;
  if (text.starts_with('{')) {
    boost::system::error_code ec;
    const json::value parsed = json::parse(text, ec);
    if (ec || !parsed.is_object()) return "must be names with values, not " + quoted(text);
    for (const auto& [name, value] : parsed.get_object()) {
      if (!value.is_string()) return "must be names with single values";
      entries[name] = value.get_string();
    }
  } else {
    for (std::string_view rest = text; !rest.empty();) {
      const auto comma = std::min(rest.find(','), rest.size());
      const std::string_view entry = rest.substr(0, comma);
      const auto sign = entry.find('=');
      if (sign == std::string_view::npos) return "must be name=value, not " + quoted(entry);
      entries[std::string(entry.substr(0, sign))] = entry.substr(sign + 1);
      rest.remove_prefix(std::min(comma + 1, rest.size()));
    }
  }
  for (const auto& [name, value] : entries)
    if (auto wrong = wrong_entry(name, value)) return wrong;
  target = std::move(entries);
  return std::nullopt;
}

std::string map_text(const std::map<std::string, std::string>& entries) {
  json::object object;
  for (const auto& [name, value] : entries) object[name] = value;
  return json::serialize(object);
}

Wrong set_scripts(Profile& profile, std::string_view text) {
  boost::system::error_code ec;
  const json::value parsed = json::parse(text, ec);
  if (ec || !parsed.is_array()) return "must be a list of scripts, not " + quoted(text);
  std::vector<Script> scripts;
  for (const json::value& item : parsed.get_array()) {
    if (!item.is_object()) return "must have a script";
    Script script;
    for (const auto& [name, value] : item.get_object()) {
      if (std::find(fields.begin(), fields.end(), name) == fields.end()) {
        const std::string near = nearest(name, fields);
        return "has no " + std::string(name) + (near.empty() ? "" : "; did you mean " + near + "?");
      }
      if (!value.is_string()) return "must have a single value for " + std::string(name);
      if (name == "script") script.text = value.get_string();
      Wrong wrong;
      if (name == "mode") wrong = set_word(script.mode, value.get_string(), script_modes);
      if (name == "when") wrong = set_word(script.when, value.get_string(), script_moments);
      if (wrong) return "has a " + std::string(name) + " that " + *wrong;
    }
    if (script.text.empty()) return "must have a script";
    scripts.push_back(std::move(script));
  }
  profile.provision = std::move(scripts);
  return std::nullopt;
}

std::string scripts_text(const Profile& profile) {
  json::array all;
  for (const Script& one : profile.provision)
    all.push_back(json::object{{"script", one.text}, {"mode", one.mode}, {"when", one.when}});
  return json::serialize(all);
}

bool only(std::string_view text, std::string_view extra) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](unsigned char c) {
    return std::isalnum(c) != 0 || extra.find(static_cast<char>(c)) != std::string_view::npos;
  });
}

Wrong wrong_url(std::string_view text) {
  for (const std::string_view scheme : {"http://", "https://"})
    if (text.starts_with(scheme) && only(text.substr(scheme.size()), ".-_:/[]@%~+")) return std::nullopt;
  return "must be a URL such as http://proxy:3128, not " + quoted(text);
}

Wrong wrong_registry(std::string_view text) {
  if (only(text, ".-:/[]")) return std::nullopt;
  return "must be a registry such as localhost:5000, or a network such as 10.0.0.0/8, not " + quoted(text);
}

Wrong wrong_certificate(std::string_view text) {
  if (text == "host" || text.starts_with('/') || text.starts_with("~/")) return std::nullopt;
  return "must be a file from / or ~ on, or host, not " + quoted(text);
}

Wrong wrong_host(std::string_view name, std::string_view address) {
  if (!only(name, ".-_")) return "has a name that is none: " + quoted(name);
  return wrong_address(address);
}

Wrong wrong_variable(std::string_view name, std::string_view value) {
  if (!only(name, "_") || std::isdigit(static_cast<unsigned char>(name[0])) != 0)
    return "has a name that is none: " + quoted(name);
  if (value.find('\n') != std::string_view::npos) return "must be a single line";
  return std::nullopt;
}

Wrong set_proxy(std::string& target, std::string_view text) {
  if (!text.empty())
    if (auto wrong = wrong_url(text)) return wrong;
  target = text;
  return std::nullopt;
}

Wrong set_docker(Profile& profile, std::string_view text) {
  boost::system::error_code ec;
  const json::value parsed = json::parse(text, ec);
  if (ec || !parsed.is_object()) return "must be the keys of daemon.json, not " + quoted(text);
  for (const std::string_view key : ours)
    if (parsed.get_object().contains(key)) return "cannot set " + std::string(key) + ": colima-like does";
  profile.docker = json::serialize(parsed);
  return std::nullopt;
}

std::string list_text(const std::vector<std::string>& items) {
  return json::serialize(json::array(items.begin(), items.end()));
}

}  // namespace cl::values
