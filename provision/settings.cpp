#include "provision/settings.hpp"

#include <algorithm>
#include <boost/json.hpp>

#include "profiles/egress.hpp"
#include "profiles/networks.hpp"
#include "provision/guest.hpp"
#include "src/base/error.hpp"
#include "src/base/file.hpp"
#include "src/base/path.hpp"
#include "src/base/shell.hpp"

namespace cl {
namespace json = boost::json;
namespace {

constexpr std::string_view driver_option = "native.cgroupdriver=";
constexpr std::string_view always_direct = "localhost,127.0.0.1,::1,host.docker.internal";
constexpr std::string_view dns_of_containers = "169.254.53.53";  // vm/guest_image: dns-address and dnsmasq.conf
/// A link to crun, or to runc in a guest that has no crun (provision.sh).
constexpr std::string_view crun = "/usr/lib/colima-like/crun";
constexpr std::string_view host_of_image = "10.0.2.2";  // vm/guest_image: daemon.json and /etc/hosts
constexpr std::string_view end_mark = "COLIMA_LIKE_END_OF_FILE";

/// Appends what is not in the list yet; a user's value of another kind is left for dockerd to judge.
void append(json::object& object, std::string_view key, const std::vector<std::string>& items) {
  if (items.empty()) return;
  json::value& value = object[key];
  if (value.is_null()) value = json::array{};
  if (!value.is_array()) return;
  for (const std::string& item : items)
    if (std::find(value.get_array().begin(), value.get_array().end(), json::value(item)) == value.get_array().end())
      value.get_array().emplace_back(item);
}

/// For login shells and, by root's .bashrc, for commands over SSH.
std::string shell_file(const Profile& profile, const HostSide& host) {
  std::string text = "# Made by colima-like from the profile's settings.\n";
  auto set = [&](const std::string& name, const std::string& value) {
    text += "export " + name + "=" + shell_quoted(value) + "\n";
  };
  const GuestProxies proxies = guest_proxies(profile, host.address).value_or(GuestProxies{});
  for (const auto& [name, value] :
       {std::pair{"http_proxy", proxies.http}, {"https_proxy", proxies.https}, {"no_proxy", proxies.none}}) {
    if (value.empty()) continue;
    std::string upper = name;
    std::transform(upper.begin(), upper.end(), upper.begin(), [](unsigned char c) { return std::toupper(c); });
    set(name, value);
    set(upper, value);
  }
  for (const auto& [name, value] : profile.env) set(name, value);
  return text;
}

std::string apt_file(const Profile& profile, const HostSide& host) {
  std::string text;
  const GuestProxies proxies = guest_proxies(profile, host.address).value_or(GuestProxies{});
  if (!proxies.http.empty()) text += "Acquire::http::Proxy \"" + proxies.http + "\";\n";
  if (!proxies.https.empty()) text += "Acquire::https::Proxy \"" + proxies.https + "\";\n";
  return text;
}

/// Podman's own networks, from the profile's.
std::string containers_networks(const Profile& profile) {
  if (profile.docker_subnet.empty()) return "";
  const Subnet pool = docker_subnet(profile), first = first_docker_network(pool);
  return "[network]\ndefault_subnet = \"" + first.str() + "\"\ndefault_subnet_pools = [{\"base\" = \"" + pool.str() +
         "\", \"size\" = " + std::to_string(first.prefix) + "}]\n";
}

/// Podman's engine: no systemd that would answer over D-Bus, and the host by the names that Docker has for it.
std::string containers_conf(const Profile& profile, const HostSide& host) {
  std::string text =
      "[containers]\nhost_containers_internal_ip = \"" + host.address + "\"\nlog_driver = \"k8s-file\"\n";
  if (!profile.dns.empty()) {
    json::array servers(profile.dns.begin(), profile.dns.end());
    text += "dns_servers = " + json::serialize(servers) + "\n";
  }
  return text + containers_networks(profile) + "[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n";
}

/// For iptables-restore: every connection goes to this computer by the agent, but those to containers. What goes by the
/// card arrives nowhere, and is refused at once, so that nobody waits for it.
std::string egress_rules(const Egress& egress, const HostSide& host) {
  const std::string port = std::to_string(egress_port), dns(egress_dns_address);
  const std::string chain = "-A COLIMA-LIKE-EGRESS ", here = " -p tcp -j REDIRECT --to-ports " + port + "\n";
  std::string text = "*nat\n:COLIMA-LIKE-EGRESS - [0:0]\n";
  text += chain + "-d " + dns + "/32 -p udp --dport 53 -j DNAT --to-destination " + dns + ":" +
          std::to_string(egress_dns_port) + "\n";
  text += chain + "-m addrtype --dst-type LOCAL -j RETURN\n";
  text += chain + "-d " + host.address + "/32" + here;
  for (const EgressRule& rule : egress.rules)
    if (rule.is_address) text += chain + "-d " + rule.host + "/32" + here;
  for (const char* own : {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"})
    text += chain + "-d " + own + " -j RETURN\n";
  text += chain + here.substr(1);
  for (const std::string& from : {std::string("OUTPUT -o e+"), "OUTPUT -d " + dns + "/32", std::string("PREROUTING")})
    text += "-I " + from + " -j COLIMA-LIKE-EGRESS\n";
  text += "COMMIT\n";
  // What was redirected still has the card as its way out here.
  text += "*filter\n:COLIMA-LIKE-EGRESS - [0:0]\n" + chain + "-d 127.0.0.0/8 -j RETURN\n" + chain +
          "-p udp --dport 67 -j RETURN\n" + chain + "-p tcp -j REJECT --reject-with tcp-reset\n" + chain +
          "-j REJECT --reject-with icmp-admin-prohibited\n" +
          "-I OUTPUT -o e+ -j COLIMA-LIKE-EGRESS\n-I FORWARD -o e+ -j COLIMA-LIKE-EGRESS\nCOMMIT\n";
  return text;
}

std::string without_scheme(const std::string& url) {
  const auto at = url.find("://");
  std::string rest = at == std::string::npos ? url : url.substr(at + 3);
  while (rest.ends_with('/')) rest.pop_back();
  return rest;
}

/// Short names mean Docker Hub, as they do for Docker. JSON strings are TOML strings.
std::string registries_conf(const Profile& profile) {
  auto text = [](const std::string& value) { return json::serialize(json::value(value)); };
  std::string conf = "unqualified-search-registries = [\"docker.io\"]\nshort-name-mode = \"permissive\"\n";
  if (!profile.mirrors.empty()) conf += "[[registry]]\nlocation = \"docker.io\"\n";
  for (const std::string& mirror : profile.mirrors)
    conf += "[[registry.mirror]]\nlocation = " + text(without_scheme(mirror)) +
            (mirror.starts_with("http://") ? "\ninsecure = true\n" : "\n");
  for (const std::string& registry : profile.insecure)
    if (registry.find('/') == std::string::npos)  // Podman knows no networks here
      conf += "[[registry]]\nlocation = " + text(registry) + "\ninsecure = true\n";
  return conf;
}

/// BuildKit, which the first build starts. Its results are where nerdctl's images are.
std::string buildkit_socket() {
  return "[Unit]\nDescription=BuildKit's socket\n[Socket]\nListenStream=/run/buildkit/buildkitd.sock\n"
         "SocketMode=0660\n";
}
std::string buildkit_service(const std::optional<GuestProxies>& proxies) {
  std::string text =
      "[Unit]\nDescription=BuildKit\nRequires=buildkit.socket\nAfter=buildkit.socket containerd.service\n"
      "[Service]\nType=notify\nExecStart=/usr/local/bin/buildkitd --addr fd://\nDelegate=yes\nKillMode=process\n"
      "Environment=PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n";
  if (!proxies) return text;
  for (const auto& [name, value] :
       {std::pair{"HTTP_PROXY", proxies->http}, {"HTTPS_PROXY", proxies->https}, {"NO_PROXY", proxies->none}})
    if (!value.empty()) {
      std::string quoted;
      for (const char c : value) quoted += c == '%' ? "%%" : std::string(1, c);  // a specifier of systemd's
      text += std::string("Environment=\"") + name + "=" + quoted + "\"\n";
    }
  return text;
}
std::string buildkitd_toml(const Profile& profile) {
  auto text = [](const std::string& value) { return json::serialize(json::value(value)); };
  std::string conf =
      "[worker.oci]\nenabled = false\n[worker.containerd]\nenabled = true\nnamespace = \"default\"\n"
      "[dns]\nnameservers = [\"" +
      std::string(dns_of_containers) + "\"]\n";
  if (!profile.mirrors.empty()) {
    json::array mirrors;
    for (const std::string& mirror : profile.mirrors) mirrors.emplace_back(without_scheme(mirror));
    conf += "[registry.\"docker.io\"]\nmirrors = " + json::serialize(mirrors) + "\n";
  }
  std::vector<std::string> plain = profile.insecure;
  for (const std::string& mirror : profile.mirrors)
    if (mirror.starts_with("http://")) plain.push_back(without_scheme(mirror));
  for (const std::string& registry : plain)
    if (registry.find('/') == std::string::npos)  // networks are Docker's alone
      conf += "[registry." + text(registry) + "]\nhttp = true\n";
  return conf;
}

std::string nerdctl_toml(const HostSide& host) {
  return "host_gateway_ip = \"" + host.address + "\"\ndns = [\"" + std::string(dns_of_containers) + "\"]\n";
}

/// Where containerd's clients find Docker Hub's mirrors, in the form that nerdctl reads.
std::string hub_hosts(const Profile& profile) {
  std::string conf = "server = \"https://registry-1.docker.io\"\n";
  for (const std::string& mirror : profile.mirrors)
    conf += "[host." + json::serialize(json::value(mirror)) + "]\ncapabilities = [\"pull\", \"resolve\"]\n";
  return conf;
}

void add_containerd_files(std::vector<GuestFile>& files, const Profile& profile, const HostSide& host) {
  const auto proxies = guest_proxies(profile, host.address);
  files.push_back({"/etc/systemd/system/buildkit.socket", buildkit_socket(), "containerd"});
  files.push_back({"/etc/systemd/system/buildkit.service", buildkit_service(proxies), "containerd"});
  files.push_back({"/etc/buildkit/buildkitd.toml", buildkitd_toml(profile), "containerd"});
  files.push_back({"/etc/nerdctl/nerdctl.toml", nerdctl_toml(host), "none"});
  if (!profile.mirrors.empty())
    files.push_back({"/etc/containerd/certs.d/docker.io/hosts.toml", hub_hosts(profile), "none"});
  for (const std::string& registry : profile.insecure)
    if (registry.find('/') == std::string::npos)
      files.push_back({"/etc/containerd/certs.d/" + registry + "/hosts.toml",
                       "server = \"http://" + registry + "\"\n[host.\"http://" + registry +
                           "\"]\ncapabilities = [\"pull\", \"resolve\", \"push\"]\nskip_verify = true\n",
                       "none"});
}

}  // namespace

std::string proxy_for_guest(const std::string& url, const std::string& host_address) {
  auto begin = url.find("://");
  begin = begin == std::string::npos ? 0 : begin + 3;
  if (const auto at = url.rfind('@'); at != std::string::npos && at >= begin) begin = at + 1;
  const auto end = url[begin] == '[' ? url.find(']', begin) + 1 : std::min(url.find_first_of(":/", begin), url.size());
  const std::string host = url.substr(begin, end - begin);
  const bool loopback = host == "localhost" || host == "[::1]" || host.starts_with("127.");
  return loopback ? url.substr(0, begin) + host_address + url.substr(end) : url;
}

std::optional<GuestProxies> guest_proxies(const Profile& profile, const std::string& host_address) {
  GuestProxies proxies;
  for (const auto& [url, into] : {std::pair{profile.proxy_http, &proxies.http}, {profile.proxy_https, &proxies.https}})
    if (!url.empty()) *into = proxy_for_guest(url, host_address);
  if (proxies.http.empty() && proxies.https.empty()) return std::nullopt;
  proxies.none = always_direct;
  if (!profile.proxy_none.empty()) proxies.none += "," + profile.proxy_none;
  return proxies;
}

/// crun starts a container in four fifths of the time that runc takes, which stays to be chosen: the user's words
/// count.
void add_crun(json::object& merged) {
  json::value& runtimes = merged["runtimes"];
  if (runtimes.is_null()) runtimes = json::object{};
  if (!runtimes.is_object()) return;
  if (!runtimes.get_object().contains("crun")) runtimes.get_object()["crun"] = json::object{{"path", crun}};
  if (!merged.contains("default-runtime")) merged["default-runtime"] = "crun";
}

std::string daemon_json(const Profile& profile, const HostSide& host) {
  json::object merged = json::parse(profile.docker).as_object();
  json::value& options = merged["exec-opts"];
  if (options.is_null()) options = json::array{};
  if (options.is_array()) {
    bool chosen = false;
    for (const json::value& one : options.get_array())
      chosen = chosen || (one.is_string() && std::string_view(one.get_string()).starts_with(driver_option));
    // The guest has no systemd that containers' control groups could be asked of quickly.
    if (!chosen) options.get_array().emplace_back(std::string(driver_option) + "cgroupfs");
  }
  // For --add-host NAME:host-gateway, which would otherwise lead to the guest.
  if (!merged.contains("host-gateway-ip")) merged["host-gateway-ip"] = host.address;
  add_crun(merged);
  if (!profile.docker_subnet.empty() && !has_own_pools(profile)) {
    const Subnet pool = docker_subnet(profile), first = first_docker_network(pool);
    // Told, too: a docker0 that is there keeps its address otherwise.
    merged["bip"] = first.at(1) + "/" + std::to_string(first.prefix);
    merged["default-address-pools"] = json::array{json::object{{"base", pool.str()}, {"size", first.prefix}}};
  }
  append(merged, "registry-mirrors", profile.mirrors);
  append(merged, "insecure-registries", profile.insecure);
  // It asks the servers of network.dns, and knows the host's name and network.hosts besides.
  if (!merged.contains("dns")) merged["dns"] = json::array{dns_of_containers};
  if (const auto proxies = guest_proxies(profile, host.address); proxies && !merged.contains("proxies")) {
    json::object own;
    if (!proxies->http.empty()) own["http-proxy"] = proxies->http;
    if (!proxies->https.empty()) own["https-proxy"] = proxies->https;
    own["no-proxy"] = proxies->none;
    merged["proxies"] = own;
  }
  return json::serialize(merged) + "\n";
}

std::vector<GuestFile> guest_files(const Profile& profile, const HostSide& host) {
  std::vector<GuestFile> files;
  const HostSide of_image{std::string(host_of_image), ""};
  if (profile.runtime == "docker")
    if (std::string text = daemon_json(profile, host); text != daemon_json(Profile{}, of_image))
      files.push_back({"/etc/docker/daemon.json", std::move(text), "docker"});
  if (profile.runtime == "podman") {
    files.push_back({"/etc/containers/containers.conf.d/colima-like.conf", containers_conf(profile, host), "podman"});
    files.push_back({"/etc/containers/registries.conf.d/colima-like.conf", registries_conf(profile), "podman"});
  }
  if (profile.runtime == "containerd") add_containerd_files(files, profile, host);
  if (!host.certificates.empty())
    files.push_back({"/usr/local/share/ca-certificates/colima-like.crt", host.certificates, "trust"});
  const bool proxied = guest_proxies(profile, host.address).has_value();
  if (proxied || !profile.env.empty()) {
    files.push_back({"/etc/profile.d/colima-like.sh", shell_file(profile, host), "none"});
    files.push_back({"/root/.bashrc",
                     "[ ! -r /root/.bashrc.before-colima-like ] || . /root/.bashrc.before-colima-like\n"
                     ". /etc/profile.d/colima-like.sh\n",
                     "none"});
  }
  if (proxied) files.push_back({"/etc/apt/apt.conf.d/90colima-like", apt_file(profile, host), "none"});
  const Egress egress = egress_of(profile);
  if (egress.mode == Egress::Mode::filtered) {
    files.push_back({"/etc/resolv.conf", "nameserver " + std::string(egress_dns_address) + "\n", "names"});
    files.push_back({"/etc/colima-like/egress", egress_rules(egress, host), "egress"});
  } else if (!profile.dns.empty()) {
    std::string text;
    for (const std::string& server : profile.dns) text += "nameserver " + server + "\n";
    files.push_back({"/etc/resolv.conf", text, "names"});
  }
  if (!profile.hosts.empty() || host.address != of_image.address) {
    std::string text =
        "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n" + host.address + " host.docker.internal\n";
    for (const auto& [name, address] : profile.hosts) text += address + " " + name + "\n";
    files.push_back({"/etc/hosts", text, "names"});
  }
  return files;
}

std::string settings_script(const std::vector<GuestFile>& files) {
  std::string script = "put_settings() {\n:\n";
  for (const GuestFile& file : files)
    script += "put " + file.reader + " " + shell_quoted(file.path) + " <<'" + std::string(end_mark) + "'\n" +
              file.content + std::string(end_mark) + "\n";
  return script + "}\n";
}

std::string own_scripts(const std::vector<Script>& scripts) {
  std::string text;
  for (const auto& [function, when] : {std::pair{"after_boot", "after-boot"}, {"ready", "ready"}}) {
    text += std::string(function) + "() {\n:\n";
    int number = 0;
    for (const Script& script : scripts) {
      ++number;
      if (script.when == when)
        text += "script " + std::to_string(number) + " " + script.mode + " " + shell_quoted(script.text) + "\n";
    }
    text += "}\n";
  }
  return text;
}

std::string read_certificates(const std::vector<std::string>& files) {
  std::string all;
  for (const std::string& name : files) {
    fs::path path = expand_home(name);
    if (name == "host")
      for (const char* store :
           {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"})
        if (file_exists(store)) {
          path = store;
          break;
        }
    const std::string text = read_file(path);
    // The blocks alone: what stands around them is for people, and must not end a file of the script.
    const std::size_t before = all.size();
    constexpr std::string_view begin_line = "-----BEGIN CERTIFICATE-----", end_line = "-----END CERTIFICATE-----";
    for (auto begin = text.find(begin_line); begin != std::string::npos; begin = text.find(begin_line, begin + 1)) {
      const auto end = text.find(end_line, begin);
      if (end == std::string::npos) break;
      const std::string body = text.substr(begin + begin_line.size(), end - begin - begin_line.size());
      if (body.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\r\n") !=
          std::string::npos)
        throw Error(Errc::invalid_config, path.string() + " is damaged: it is no PEM",
                    "registries.certificates names it");
      all += std::string(begin_line) + body + std::string(end_line) + "\n";
    }
    if (all.size() == before)
      throw Error(Errc::invalid_config, path.string() + " holds no certificate in PEM",
                  "registries.certificates names it");
  }
  return all;
}

}  // namespace cl
