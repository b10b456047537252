#include "profiles/keys.hpp"

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <numeric>

#include "profiles/egress.hpp"
#include "profiles/image_ref.hpp"
#include "profiles/key_values.hpp"
#include "profiles/networks.hpp"
#include "profiles/remote_host.hpp"
#include "profiles/runtime.hpp"
#include "src/base/text.hpp"

namespace cl {
namespace json = boost::json;
namespace {

constexpr ByteSize least_memory = ByteSize::mib(512);  // Debian with dockerd idles at about 250 MiB
constexpr ByteSize most_memory = ByteSize::gib(16 * 1024);
constexpr ByteSize least_disk = ByteSize::gib(1);
constexpr ByteSize most_disk = ByteSize::gib(16 * 1024);  // ext4's limit with 4 KiB blocks
constexpr int most_ports = 65535;

using namespace values;

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
    Key{"containerd.tools", "",
        "nerdctl and BuildKit of the runtime containerd: auto, none, or a nerdctl-full archive by URL or path with "
        "#sha256:HEX",
        Kind::scalar, Change::restart, "",
        R"s({"type": "string", "pattern": "^(auto|none|(https?://|/|~/).+#(sha512:[0-9A-Fa-f]{128}|sha256:[0-9A-Fa-f]{64}))$", "examples": ["auto", "none"]})s",
        &set_tools, [](const Profile& p) { return p.containerd_tools; }},
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
    Key{"hosts", "host", "a Linux host that SSH reaches, whose engine is used: NAME or ssh://[USER@]HOST[:PORT]",
        Kind::list, Change::restart, "",
        R"s({"type": "string", "pattern": "^(ssh://)?(?![0-9]+$)[A-Za-z0-9._:@%\\[\\]][A-Za-z0-9._:@%\\[\\]-]*$"})s",
        [](Profile& p, std::string_view text) { return set_list(p.remote_hosts, text, &wrong_remote_host); },
        [](const Profile& p) { return list_text(p.remote_hosts); }},
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
  if (!profile.remote_hosts.empty()) return std::string(to_string(DriverWish::host));
  const bool vz = host.os == "macos" && profile.accel == AccelWish::automatic && !no_vz(profile, host);
  return std::string(to_string(vz ? DriverWish::vz : DriverWish::qemu));
}

std::vector<Problem> check(const Profile& profile, const HostFacts& host) {
  std::vector<Problem> found;
  if (resolved_driver(profile, host) == "host") return check_remote_host(profile);
  if (!profile.remote_hosts.empty())
    found.push_back({"hosts", "a machine of one's own has none; use vm.driver host, or auto"});
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
