#include "profiles/colima.hpp"

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <optional>

#include "profiles/keys.hpp"
#include "profiles/parse.hpp"

namespace cl {
namespace json = boost::json;
namespace {

/// A key of Colima's: ours, or why there is none.
struct Row {
  std::string_view theirs, ours, instead;
};
constexpr std::array rows{
    Row{"cpu", "cpus", ""},
    Row{"memory", "memory", ""},
    Row{"disk", "disk", ""},
    Row{"arch", "arch", ""},
    Row{"vmType", "", "the driver is chosen by the host"},
    Row{"rosetta", "vm.rosetta", ""},
    Row{"cpuType", "", "the best CPU that the accelerator has is always used"},
    Row{"rootDisk", "", "the root disk has a fixed, sparse size"},
    Row{"hostname", "", "the machine is called colima-like-NAME"},
    Row{"autoActivate", "", "every start makes its docker context the current one"},
    Row{"mountType", "", "the type of shares is chosen by what works"},
    Row{"mountInotify", "", "file events need no setting"},
    Row{"sshConfig", "", "'colima-like ssh-config --install' does this once"},
    Row{"sshPort", "", "SSH uses no port; see 'colima-like ssh-config'"},
    Row{"portForwarder", "", "there is one forwarder, for TCP and UDP"},
    Row{"binfmt", "", "foreign architectures need no setting"},
    Row{"diskImage", "", "images are built here: 'colima-like image build'"},
    Row{"diskImageMirror", "", "set COLIMA_LIKE_MIRROR for image builds"},
    Row{"forceDiskImage", "", "images are always verified"},
    Row{"modelRunner", "", "there is no model runner"},
    Row{"nestedVirtualization", "vm.nested", ""},
    Row{"forwardAgent", "ssh.agent", ""},
    Row{"runtime", "runtime", ""},
    Row{"docker", "docker", ""},
    Row{"env", "env", ""},
    Row{"network.dns", "network.dns", ""},
    Row{"network.dnsHosts", "network.hosts", ""},
    Row{"network.address", "", "ports are reached on this host; the machine needs no address of its own"},
    Row{"network.hostAddresses", "", "a published port is open on exactly the address that was asked for"},
};

/// Colima writes a plain number of GiB, also as a fraction; other kinds of values are as ours.
std::string as_ours(const Row& row, const std::string& text) {
  if (row.ours == "arch") {
    for (const std::string_view same : {"x86_64", "amd64", "amd", "x86", "x64"})
      if (text == same) return "x86_64";
    for (const std::string_view same : {"aarch64", "arm64", "arm", "m1"})
      if (text == same) return "aarch64";
  }
  if (row.ours == "memory" || row.ours == "disk") return text + "GiB";
  if (row.ours != "network.hosts" || !text.starts_with('{')) return text;
  json::object names = json::parse(text).as_object();
  names.erase("host.docker.internal");  // Colima writes it there, and here it is always known
  return json::serialize(names);
}

/// Scripts: Colima's mode says who runs it, or when.
std::string scripts_of(const ForeignSetting& provision) {
  json::array scripts;
  for (const ForeignSetting& part : provision.items) {
    const auto dot = part.name.find('.');
    const std::size_t number = std::stoul(part.name.substr(0, dot));
    while (scripts.size() <= number) scripts.push_back(json::object{});
    json::object& script = scripts[number].as_object();
    const std::string name = dot == std::string::npos ? "script" : part.name.substr(dot + 1);
    if (name == "mode" && part.text == "ready") {
      script["when"] = "ready";
    } else if (name == "mode") {
      script["mode"] = part.text == "user" ? "user" : "system";
    } else {
      script[name] = part.text;
    }
  }
  return json::serialize(scripts);
}

/// Shares: "location[:mountPoint]", writable unless said.
std::optional<std::string> share_of(const ForeignSetting& mounts, std::size_t number) {
  const std::string prefix = std::to_string(number) + ".";
  std::string location, mount_point;
  bool writable = false;
  for (const ForeignSetting& one : mounts.items) {
    if (one.name == prefix + "location") location = one.text;
    if (one.name == prefix + "mountPoint") mount_point = one.text;
    if (one.name == prefix + "writable") writable = one.text == "true";
  }
  if (location.empty()) return std::nullopt;
  return location + (mount_point.empty() ? "" : ":" + mount_point) + (writable ? "" : ":ro");
}

std::size_t count_of(const ForeignSetting& list) {
  std::size_t count = 0;
  for (const ForeignSetting& one : list.items)
    count = std::max<std::size_t>(count, std::stoul(one.name.substr(0, one.name.find('.'))) + 1);
  return count;
}

/// Puts a value in, or says why our table refuses it.
std::string take(ColimaImport& into, std::string_view ours, const std::string& value) {
  const Key& key = *find_key(ours);
  Profile scratch;
  if (const auto wrong = key.set(scratch, value)) return "not taken over: " + std::string(ours) + " " + *wrong;
  for (const Problem& problem : check(scratch, host_facts()))
    if (problem.where == ours) return "not taken over: " + problem.message;
  into.settings[std::string(ours)] = key.get(scratch);
  return std::string(ours) + ": " + key.get(scratch);
}

std::string convert(ColimaImport& into, const ForeignSetting& theirs) {
  if (theirs.name == "mounts") {
    // An empty list is Colima's default, the home; null means none.
    if (!theirs.is_list) return theirs.text.empty() ? take(into, "shares", "[]") : "not taken over: no list";
    if (theirs.items.empty()) return "the default: the home";
    std::string list;
    for (std::size_t i = 0; i < count_of(theirs); ++i)
      if (const auto share = share_of(theirs, i)) list += (list.empty() ? "" : ",") + *share;
    return take(into, "shares", list);
  }
  if (theirs.name == "provision" && theirs.is_list) return take(into, "provision", scripts_of(theirs));
  if (theirs.name.starts_with("kubernetes.")) return "not taken over: there is no Kubernetes here yet";
  for (const Row& row : rows) {
    if (row.theirs != theirs.name) continue;
    if (row.ours.empty()) return "not taken over: " + std::string(row.instead);
    return take(into, row.ours, as_ours(row, theirs.text));
  }
  return "not taken over: there is no such setting here";
}

}  // namespace

ColimaImport convert_colima(std::string_view yaml, const std::string& file) {
  ColimaImport result;
  for (const ForeignSetting& theirs :
       flatten_yaml(yaml, file, {{"docker", true}, {"env", false}, {"network.dnsHosts", false}}))
    result.lines.push_back({theirs.name, theirs.text, convert(result, theirs)});
  return result;
}

}  // namespace cl
