#include "profiles/keys.hpp"

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
#include "profiles/networks.hpp"
#include "profiles/runtime.hpp"
#include "profiles/shares.hpp"
#include "src/base/text.hpp"

namespace cl {
namespace json = boost::json;
namespace {

constexpr ByteSize least_memory = ByteSize::mib(512);  // Debian with dockerd idles at about 250 MiB
constexpr ByteSize most_memory = ByteSize::gib(16 * 1024);
constexpr ByteSize least_disk = ByteSize::gib(1);
constexpr ByteSize most_disk = ByteSize::gib(16 * 1024);  // ext4's limit with 4 KiB blocks
constexpr std::chrono::seconds least_idle = std::chrono::seconds(10);
constexpr std::chrono::seconds most_idle = std::chrono::hours(24 * 365);
constexpr int most_ports = 65535;

using Wrong = std::optional<std::string>;

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

/// ByteSize::str() rounds, for people; this is the same number again when it is read.
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

template <class E>
Wrong set_word(E& target, std::string_view text) {
  const auto value = from_word<E>(text);
  if (!value) return wrong_word(names_of(words_of(E{})), text);
  target = *value;
  return std::nullopt;
}

Wrong set_boolean(bool& target, std::string_view text) {
  if (text != "true" && text != "false") return "must be true or false, not " + quoted(text);
  target = text == "true";
  return std::nullopt;
}

/// It was true or false once, and is so in Colima's files.
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

Wrong wrong_forward(std::string_view text) {
  Forward forward;
  return parse_forward(text, forward);
}

/// "a,b", or a JSON array of strings.
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

/// "name=value,name=value", or a JSON object of strings.
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

constexpr std::array<std::string_view, 3> fields{"script", "mode", "when"};

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

/// What would take the engine away from under us, or put its data where it is lost with the machine.
constexpr std::array<std::string_view, 6> ours{"hosts", "data-root", "exec-root", "pidfile", "containerd", "group"};

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

constexpr auto accel_names = names_of(accel_words);
constexpr auto driver_names = names_of(driver_words);
constexpr auto rosetta_names = names_of(rosetta_words);
constexpr auto idle_client_names = names_of(idle_client_words);
constexpr auto share_confinement_names = names_of(share_confinement_words);
constexpr auto forward_names = names_of(forward_words);
constexpr auto runtime_names = names_of(runtimes);

constexpr std::string_view size_schema =
    R"({"type": ["string", "number"], "exclusiveMinimum": 0, "pattern": "^([0-9]+\\.?[0-9]*|\\.[0-9]+) *([Bb]|[KMGTkmgt]([Ii]?[Bb])?)?$"})";
constexpr std::string_view boolean_schema = R"({"enum": [true, false, "true", "false"]})";
constexpr std::string_view words_schema = R"({"type": "string"})";
constexpr std::string_view egress_schema =
    R"({"type": "string", "pattern": "^(none|(\\*\\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?:(\\*|[1-9][0-9]{0,4}))$"})";
constexpr std::string_view host_access_schema =
    R"({"type": ["string", "integer"], "pattern": "^(all|none|[1-9][0-9]{0,4})$", "minimum": 1})";
constexpr std::string_view any_scalar_schema = R"({"type": ["string", "number", "boolean"]})";
constexpr std::string_view scripts_schema =
    R"({"type": "object", "properties": {"script": {"type": ["string", "number", "boolean"], "minLength": 1}, "mode": {"enum": ["system", "user"]}, "when": {"enum": ["after-boot", "ready"]}}, "required": ["script"], "additionalProperties": false})";
constexpr std::string_view proxy_schema =
    R"s({"type": "string", "pattern": "^(https?://[A-Za-z0-9._:/@%~+\\[\\]-]+)?$"})s";

constexpr std::array table{
    Key{"cpus", "cpus", "CPUs of the machine", Kind::scalar, Change::restart, "",
        R"({"type": ["integer", "string"], "minimum": 1, "pattern": "^0*[1-9][0-9]*$"})", &set_cpus,
        [](const Profile& p) { return std::to_string(p.cpus); }},
    Key{"memory", "memory", "memory of the machine, e.g. 4GiB", Kind::scalar, Change::restart, "", size_schema,
        [](Profile& p, std::string_view text) { return set_size(p.memory, text, least_memory, most_memory); },
        [](const Profile& p) { return exact(p.memory); }},
    Key{"disk", "disk", "size limit of the containers' data, e.g. 100GiB; can grow, never shrink", Kind::scalar,
        Change::restart, "the containers' data", size_schema,
        [](Profile& p, std::string_view text) { return set_size(p.disk, text, least_disk, most_disk); },
        [](const Profile& p) { return exact(p.disk); }},
    Key{"arch", "arch", "the machine's architecture", Kind::scalar, Change::recreate,
        "the machine's root disk with all that was installed in it, and containers built for the old architecture", "",
        [](Profile& p, std::string_view text) { return set_word(p.arch, text, arch_names); },
        [](const Profile& p) { return p.arch; }, arch_names},
    Key{"image", "image",
        "the guest's image: auto, docker, plain, debian-13, ubuntu-24.04, or a URL or path with #sha512:HEX",
        Kind::scalar, Change::recreate, "the machine's root disk with all that was installed in it",
        R"s({"type": "string", "pattern": "^(auto|docker|plain|debian-13|ubuntu-24\\.04|(https?://|/|~/).+#(sha512:[0-9A-Fa-f]{128}|sha256:[0-9A-Fa-f]{64}))$", "examples": ["auto", "docker", "plain", "debian-13", "ubuntu-24.04"]})s",
        [](Profile& p, std::string_view text) {
          std::string why;
          const bool sound = parse_image_ref(text, why).has_value();
          if (sound) p.image = text;
          return sound ? Wrong() : Wrong(why);
        },
        [](const Profile& p) { return p.image; }},
    Key{"idle", "idle", "how long unused until the machine sleeps, e.g. 15m, or off", Kind::scalar, Change::live, "",
        R"s({"type": "string", "pattern": "^(off|0*[1-9][0-9]*[smh])$"})s",
        [](Profile& p, std::string_view text) { return set_idle(p.idle, text); },
        [](const Profile& p) { return duration_text(p.idle); }},
    Key{"idle_clients", "", "whose use of the engine keeps the machine awake; working are who do more than look",
        Kind::scalar, Change::live, "", "",
        [](Profile& p, std::string_view text) { return set_word(p.idle_clients, text); },
        [](const Profile& p) { return std::string(to_string(p.idle_clients)); }, idle_client_names},
    Key{"runtime", "runtime", "what runs containers, each with its own data", Kind::scalar, Change::restart, "", "",
        [](Profile& p, std::string_view text) { return set_word(p.runtime, text, runtime_names); },
        [](const Profile& p) { return p.runtime; }, runtime_names},
    Key{"env", "", "environment variables of shells and commands in the machine", Kind::map, Change::live, "",
        any_scalar_schema, [](Profile& p, std::string_view text) { return set_map(p.env, text, &wrong_variable); },
        [](const Profile& p) { return map_text(p.env); }},
    Key{"docker", "", "keys of dockerd's daemon.json, passed through; a change restarts dockerd", Kind::json,
        Change::live, "", R"({"type": "object"})", &set_docker, [](const Profile& p) { return p.docker; }},
    Key{"registries.mirrors", "registry-mirror", "mirrors of Docker Hub, URLs", Kind::list, Change::live, "",
        R"({"type": "string", "pattern": "^https?://[A-Za-z0-9._:/@%~+\\[\\]-]+$"})",
        [](Profile& p, std::string_view text) { return set_list(p.mirrors, text, &wrong_url); },
        [](const Profile& p) { return list_text(p.mirrors); }},
    Key{"registries.insecure", "", "registries that speak no TLS, host:port or networks", Kind::list, Change::live, "",
        R"s({"type": ["string", "number", "boolean"], "pattern": "^[A-Za-z0-9.:/\\[\\]-]+$"})s",
        [](Profile& p, std::string_view text) { return set_list(p.insecure, text, &wrong_registry); },
        [](const Profile& p) { return list_text(p.insecure); }},
    Key{"registries.certificates", "", "PEM files of CAs that the machine trusts; host is this host's own store",
        Kind::list, Change::live, "", R"s({"type": "string", "pattern": "^(host$|/|~/)"})s",
        [](Profile& p, std::string_view text) { return set_list(p.certificates, text, &wrong_certificate); },
        [](const Profile& p) { return list_text(p.certificates); }},
    Key{"proxy.http", "", "HTTP proxy of the engine, apt and shells; localhost is this host", Kind::scalar,
        Change::live, "", proxy_schema, [](Profile& p, std::string_view text) { return set_proxy(p.proxy_http, text); },
        [](const Profile& p) { return p.proxy_http; }},
    Key{"proxy.https", "", "the same for HTTPS", Kind::scalar, Change::live, "", proxy_schema,
        [](Profile& p, std::string_view text) { return set_proxy(p.proxy_https, text); },
        [](const Profile& p) { return p.proxy_https; }},
    Key{"proxy.none", "", "what is reached without a proxy, e.g. .corp,10.0.0.0/8", Kind::scalar, Change::live, "",
        R"s({"type": ["string", "number", "boolean"], "pattern": "^[A-Za-z0-9.,:/*_-]*$"})s",
        [](Profile& p, std::string_view text) -> Wrong {
          if (!text.empty() && !only(text, ".,:/*_-"))
            return "must be names and networks with commas, not " + quoted(text);
          p.proxy_none = text;
          return std::nullopt;
        },
        [](const Profile& p) { return p.proxy_none; }},
    Key{"shares", "", "host folders in the machine, each location[:mount point][:ro][:type]", Kind::list, Change::live,
        "", R"s({"type": "string", "pattern": "^(/|~$|~/|~:)"})s",
        [](Profile& p, std::string_view text) { return set_list(p.shares, text, &wrong_share); },
        [](const Profile& p) { return list_text(p.shares); }},
    Key{"share_type", "", "how shares get into the machine; auto is the best that works", Kind::scalar, Change::live,
        "", "", [](Profile& p, std::string_view text) { return set_word(p.share_type, text, share_type_names); },
        [](const Profile& p) { return p.share_type; }, share_type_names},
    Key{"share_confinement", "",
        "whether a folder is shared only where nothing but it can be reached by its server on this host", Kind::scalar,
        Change::live, "", "", [](Profile& p, std::string_view text) { return set_word(p.share_confinement, text); },
        [](const Profile& p) { return std::string(to_string(p.share_confinement)); }, share_confinement_names},
    Key{"share_hide", "",
        "what the machine does not get of shared folders: default, and each path[:ro|:rw], hidden, read-only or shown",
        Kind::list, Change::restart, "", R"s({"type": "string", "pattern": "^(default$|/|~/)"})s",
        [](Profile& p, std::string_view text) { return set_list(p.share_hide, text, &wrong_hide); },
        [](const Profile& p) { return list_text(p.share_hide); }},
    Key{"forwards", "",
        "ports and unix sockets between this host and the machine, each HOST:GUEST, or reverse:GUEST:HOST", Kind::list,
        Change::live, "", R"s({"type": "string", "pattern": "^(reverse:)?[~/0-9a-z[][^\n]*:[^\n]*[^:]$"})s",
        &set_forwards, [](const Profile& p) { return list_text(p.forwards); }},
    Key{"file_events", "", "whether changes of shared folders reach programs in containers that watch files there",
        Kind::scalar, Change::live, "", boolean_schema,
        [](Profile& p, std::string_view text) { return set_boolean(p.file_events, text); },
        [](const Profile& p) { return std::string(p.file_events ? "true" : "false"); }},
    Key{"host_sockets", "", "whether containers get unix sockets of this host, and its ssh agent, that they mount",
        Kind::scalar, Change::live, "", boolean_schema,
        [](Profile& p, std::string_view text) { return set_boolean(p.host_sockets, text); },
        [](const Profile& p) { return std::string(p.host_sockets ? "true" : "false"); }},
    Key{"check_binds", "", "whether containers that mount a folder of this host which is not shared are refused",
        Kind::scalar, Change::live, "", boolean_schema,
        [](Profile& p, std::string_view text) { return set_boolean(p.check_binds, text); },
        [](const Profile& p) { return std::string(p.check_binds ? "true" : "false"); }},
    Key{"check_ports", "", "whether a container is refused whose published port cannot be opened on this host",
        Kind::scalar, Change::live, "", boolean_schema,
        [](Profile& p, std::string_view text) { return set_boolean(p.check_ports, text); },
        [](const Profile& p) { return std::string(p.check_ports ? "true" : "false"); }},
    Key{"provision", "", "scripts that run in the machine once in each boot, when: after-boot or ready", Kind::groups,
        Change::live, "", scripts_schema, &set_scripts, &scripts_text},
    Key{"vm.driver", "", "what boots the machine", Kind::scalar, Change::recreate,
        "the machine's root disk with all that was installed in it", "",
        [](Profile& p, std::string_view text) { return set_word(p.driver, text); },
        [](const Profile& p) { return std::string(to_string(p.driver)); }, driver_names},
    Key{"vm.accel", "accel", "what runs the guest's instructions", Kind::scalar, Change::restart, "", "",
        [](Profile& p, std::string_view text) { return set_word(p.accel, text); },
        [](const Profile& p) { return std::string(to_string(p.accel)); }, accel_names},
    Key{"vm.rosetta", "", "amd64 containers by Rosetta, on Apple silicon", Kind::scalar, Change::restart, "",
        boolean_schema, &set_rosetta, [](const Profile& p) { return std::string(to_string(p.rosetta)); },
        rosetta_names},
    Key{"vm.nested", "", "machines within the machine: its CPUs have virtualization", Kind::scalar, Change::restart, "",
        boolean_schema, [](Profile& p, std::string_view text) { return set_boolean(p.nested, text); },
        [](const Profile& p) { return std::string(p.nested ? "true" : "false"); }},
    Key{"network.dns", "", "DNS servers of the machine, which containers ask through it", Kind::list, Change::live, "",
        words_schema, [](Profile& p, std::string_view text) { return set_list(p.dns, text, &wrong_address); },
        [](const Profile& p) { return list_text(p.dns); }},
    Key{"network.hosts", "", "names with IP addresses that the machine and its containers know", Kind::map,
        Change::live, "", words_schema,
        [](Profile& p, std::string_view text) { return set_map(p.hosts, text, &wrong_host); },
        [](const Profile& p) { return map_text(p.hosts); }},
    Key{"network.address", "", "widest host address of published ports, and that of ports published without one",
        Kind::scalar, Change::live, "", words_schema,
        [](Profile& p, std::string_view text) {
          auto wrong = wrong_address(text);
          if (!wrong) p.network_address = text;
          return wrong;
        },
        [](const Profile& p) { return p.network_address; }},
    Key{"network.forward", "", "which of the machine's ports appear on the host; published are those of containers",
        Kind::scalar, Change::live, "", "",
        [](Profile& p, std::string_view text) { return set_word(p.network_forward, text); },
        [](const Profile& p) { return std::string(to_string(p.network_forward)); }, forward_names},
    Key{"network.egress", "", "what the machine may reach: NAME:PORT, *.NAME:PORT, ADDRESS:PORT, or none; empty: all",
        Kind::list, Change::restart, "", egress_schema, &set_egress,
        [](const Profile& p) { return list_text(p.egress); }},
    Key{"network.host_access", "", "which ports of this computer the machine may reach; all means its network, too",
        Kind::list, Change::restart, "", host_access_schema, &set_host_access,
        [](const Profile& p) { return list_text(p.host_access); }},
    Key{"network.port_limit", "", "how many published ports are open on the host at once", Kind::scalar, Change::live,
        "", R"({"type": ["integer", "string"], "minimum": 1, "pattern": "^0*[1-9][0-9]*$"})",
        [](Profile& p, std::string_view text) -> Wrong {
          const auto number = whole_number<int>(text);
          if (!number || *number < 1 || *number > most_ports)
            return "must be a whole number from 1 to " + std::to_string(most_ports) + ", not " + quoted(text);
          p.port_limit = *number;
          return std::nullopt;
        },
        [](const Profile& p) { return std::to_string(p.port_limit); }},
    Key{"network.low_ports", "", "whether published ports below 1024 are opened on the host, as far as this user may",
        Kind::scalar, Change::live, "", boolean_schema,
        [](Profile& p, std::string_view text) { return set_boolean(p.low_ports, text); },
        [](const Profile& p) { return std::string(p.low_ports ? "true" : "false"); }},
    Key{"network.guest_subnet", "", "the machine's own network, where this host is the second address; with QEMU only",
        Kind::scalar, Change::restart, "", R"s({"type": "string", "pattern": "^[0-9]+(\\.[0-9]+){3}/[0-9]+$"})s",
        [](Profile& p, std::string_view text) {
          auto wrong = wrong_guest_subnet(text);
          if (!wrong) p.guest_subnet = text;
          return wrong;
        },
        [](const Profile& p) { return p.guest_subnet; }},
    Key{"network.docker_subnet", "",
        "what containers' networks are taken from, e.g. 10.201.0.0/16; empty: Docker's own", Kind::scalar,
        Change::restart, "", R"s({"type": "string", "pattern": "^([0-9]+(\\.[0-9]+){3}/[0-9]+)?$"})s",
        [](Profile& p, std::string_view text) {
          auto wrong = wrong_docker_subnet(text);
          if (!wrong) p.docker_subnet = text;
          return wrong;
        },
        [](const Profile& p) { return p.docker_subnet; }},
    Key{"ssh.agent", "", "this host's SSH agent in 'colima-like ssh' and for whoever uses ssh-config", Kind::scalar,
        Change::live, "", boolean_schema,
        [](Profile& p, std::string_view text) { return set_boolean(p.ssh_agent, text); },
        [](const Profile& p) { return std::string(p.ssh_agent ? "true" : "false"); }},
};

/// Why this host cannot run the profile's machine under Apple's framework, with the ways out; nothing when it can.
Wrong no_vz(const Profile& profile, const HostFacts& host) {
  if (host.vfkit_stand_in.empty()) {
    if (host.os != "macos") return "vz is Apple's Virtualization framework, only on macOS hosts";
    if (!at_least(host.macos_version, 13))
      return "vz needs macOS 13 or newer, and this is macOS " + host.macos_version + "; use qemu";
  }
  if (const std::string arch = resolved_arch(profile, host); arch != host.arch)
    return "vz runs only " + host.arch + " machines on this host, not " + arch +
           " ones: use vm.driver qemu, which emulates them, or a machine of this host's own architecture (arch: host), "
           "in which 'docker run --platform linux/" +
           (arch == "x86_64" ? "amd64' works by Rosetta" : "arm64' works by qemu-user");
  if (profile.accel == AccelWish::tcg || profile.accel == AccelWish::kvm)
    return "vz always uses the CPU's own virtualization; vm.accel " + std::string(to_string(profile.accel)) +
           " takes vm.driver qemu";
  return std::nullopt;
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0U : 1U)});
      diagonal = above;
    }
  }
  return row.back();
}

}  // namespace

std::string_view to_string(Change change) {
  return change == Change::live ? "live" : change == Change::restart ? "restart" : "recreate";
}

std::string duration_text(std::chrono::seconds duration) {
  const auto count = duration.count();
  if (count == 0) return "off";
  if (count % 3600 == 0) return std::to_string(count / 3600) + "h";
  return count % 60 == 0 ? std::to_string(count / 60) + "m" : std::to_string(count) + "s";
}

std::span<const Key> keys() { return table; }

std::string meaning_of(const Key& key) {
  return std::string(key.meaning) + (key.words.empty() ? "" : ": " + or_list(key.words));
}

const Key* find_key(std::string_view name) {
  for (const Key& key : table)
    if (key.name == name) return &key;
  return nullptr;
}

std::string did_you_mean(std::string_view name) {
  std::vector<std::string_view> names, leaves;
  for (const Key& key : table) {
    names.push_back(key.name);
    leaves.push_back(key.name.substr(key.name.find('.') + 1));  // npos + 1 is the beginning
  }
  std::string near = nearest(name, names);
  // "acel" is far from "vm.accel", though only the group and a letter are missing.
  if (const std::string leaf = nearest(name, leaves); near.empty() && !leaf.empty())
    near = names[static_cast<std::size_t>(std::find(leaves.begin(), leaves.end(), leaf) - leaves.begin())];
  return near.empty() ? near : "; did you mean " + near + "?";
}

std::string json_schema() {
  const Profile defaults;
  json::object properties;
  for (const Key& key : table) {
    json::object rule;
    json::value one = json::parse(key.schema.empty() ? R"({"enum": []})" : key.schema);
    if (!key.words.empty()) {
      json::array& listed = one.as_object()["enum"].as_array();
      listed.insert(listed.begin(), key.words.begin(), key.words.end());
    }
    switch (key.kind) {
      case Kind::scalar:
      case Kind::json: rule = one.as_object(); break;
      case Kind::groups:
      case Kind::list: rule = json::object{{"type", "array"}, {"items", one}}; break;
      case Kind::map: rule = json::object{{"type", "object"}, {"additionalProperties", one}}; break;
    }
    rule["description"] = meaning_of(key) + " (change: " + std::string(to_string(key.change)) + ")";
    const std::string value = key.get(defaults);
    rule["default"] = key.kind == Kind::scalar ? json::value(value) : json::parse(value);
    const auto dot = key.name.find('.');
    if (dot == std::string_view::npos) {
      properties[key.name] = std::move(rule);
      continue;
    }
    json::value& group = properties[key.name.substr(0, dot)];
    if (group.is_null())
      group = json::object{
          {"type", json::array{"object", "null"}}, {"additionalProperties", false}, {"properties", json::object{}}};
    group.as_object()["properties"].as_object()[key.name.substr(dot + 1)] = std::move(rule);
  }
  json::object schema;
  schema["$schema"] = "http://json-schema.org/draft-07/schema#";
  schema["title"] = "profile.yaml of colima-like";
  schema["type"] = json::array{"object", "null"};
  schema["additionalProperties"] = false;
  schema["properties"] = std::move(properties);
  return json::serialize(schema);
}

std::vector<Difference> differences(const Profile& from, const Profile& to, const HostFacts& host) {
  std::vector<Difference> found;
  for (const Key& key : table) {
    Difference one{&key, key.get(from), key.get(to)};
    const bool same = (key.name == "arch" && resolved_arch(from, host) == resolved_arch(to, host)) ||
                      (key.name == "vm.driver" && resolved_driver(from, host) == resolved_driver(to, host)) ||
                      (key.name == "image" && to.image == "auto");
    if (one.from != one.to && !same) found.push_back(std::move(one));
  }
  return found;
}

std::string resolved_arch(const Profile& profile, const HostFacts& host) {
  return profile.arch == "host" ? host.arch : profile.arch;
}

std::string resolved_driver(const Profile& profile, const HostFacts& host) {
  if (profile.driver != DriverWish::automatic) return std::string(to_string(profile.driver));
  const bool vz = host.os == "macos" && profile.accel == AccelWish::automatic && !no_vz(profile, host);
  return std::string(to_string(vz ? DriverWish::vz : DriverWish::qemu));
}

std::vector<Problem> check(const Profile& profile, const HostFacts& host) {
  std::vector<Problem> found;
  if (profile.cpus > host.cpus)
    found.push_back({"cpus", "this host has " + std::to_string(host.cpus) + ", not " + std::to_string(profile.cpus)});
  if (profile.memory > host.memory)
    found.push_back({"memory", "this host has " + host.memory.str() + ", not " + profile.memory.str()});
  if (profile.driver == DriverWish::vz)
    if (auto why = no_vz(profile, host)) found.push_back({"vm.driver", std::move(*why)});
  if (resolved_driver(profile, host) == "vz" && profile.guest_subnet != Profile{}.guest_subnet)
    found.push_back({"network.guest_subnet", "with vz the machine's network is macOS's own; use vm.driver qemu"});
  if (const Egress egress = egress_of(profile); egress.mode != Egress::Mode::open) {
    const std::string_view key = profile.egress.empty() ? "network.host_access" : "network.egress";
    if (resolved_driver(profile, host) == "vz")
      found.push_back({std::string(key), "with vz the machine's network is macOS's own; use vm.driver qemu"});
    if (!is_private_network(docker_subnet(profile)))
      found.push_back({"network.docker_subnet",
                       "with " + std::string(key) + " it must be in 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16"});
    if (!profile.dns.empty())
      found.push_back({"network.dns", "with " + std::string(key) + " this computer looks names up for the machine"});
  }
  if (guest_subnet(profile).overlaps(docker_subnet(profile)))
    found.push_back(
        {"network.docker_subnet", "it must not overlap network.guest_subnet, which is " + profile.guest_subnet});
  if (profile.rosetta == RosettaWish::on && host.os != "macos")
    found.push_back({"vm.rosetta", "Rosetta is Apple's, for Macs with Apple silicon; use auto or off"});
  if (profile.nested && host.os != "linux") found.push_back({"vm.nested", "only on Linux hosts"});
  if (profile.accel == AccelWish::kvm && host.os != "linux")
    found.push_back({"vm.accel", "kvm is only on Linux hosts"});
  if (profile.accel == AccelWish::hvf && host.os != "macos")
    found.push_back({"vm.accel", "hvf is only on macOS hosts"});
  if ((profile.accel == AccelWish::kvm || profile.accel == AccelWish::hvf) && resolved_arch(profile, host) != host.arch)
    found.push_back({"vm.accel", std::string(to_string(profile.accel)) + " runs only " + host.arch +
                                     " machines here; use auto or tcg for " + resolved_arch(profile, host)});
  return found;
}

std::string nearest(std::string_view word, std::span<const std::string_view> candidates) {
  std::string best;
  std::size_t least = std::max<std::size_t>(2, word.size() / 3) + 1;
  for (const std::string_view candidate : candidates) {
    const std::size_t distance = edit_distance(word, candidate);
    if (distance >= least) continue;
    least = distance;
    best = candidate;
  }
  return best;
}

}  // namespace cl
