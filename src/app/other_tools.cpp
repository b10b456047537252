#include "src/app/other_tools.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/json/parse.hpp>
#include <cstdlib>
#include <optional>
#include <set>

#include "docker/context.hpp"
#include "src/base/child.hpp"
#include "src/base/file.hpp"
#include "src/base/json.hpp"
#include "src/base/net/unix_socket.hpp"
#include "src/base/path.hpp"

namespace cl {
namespace {

namespace json = boost::json;

struct Tool {
  std::string_view name;
  std::string_view in_path;  ///< a piece of the path of its sockets
  std::string_view context;  ///< how its contexts' names begin
  std::array<std::string_view, 3> installed;
};
constexpr std::array<Tool, 6> tools{{
    {"Colima", "/.colima/", "colima", {"colima"}},
    {"Lima", "/.lima/", "lima", {"limactl"}},
    {"Docker Desktop", "/.docker/", "desktop-", {"/Applications/Docker.app", "/opt/docker-desktop"}},
    {"OrbStack", "/.orbstack/", "orbstack", {"orb", "/Applications/OrbStack.app"}},
    {"Rancher Desktop",
     "/.rd/",
     "rancher-desktop",
     {"rdctl", "/Applications/Rancher Desktop.app", "/opt/rancher-desktop"}},
    {"Podman", "/podman/", "podman", {"podman"}},
}};

constexpr std::string_view unix_scheme = "unix://";

struct Context {
  std::string name, endpoint;
};
struct Builder {
  std::string name;
  std::vector<std::string> endpoints;  ///< of contexts by name, or addresses
};
/// What docker's client has been told.
struct Told {
  json::object config;
  std::vector<Context> contexts;
  std::vector<Builder> builders;
  std::string builder, builder_of;  ///< the chosen one, and the endpoint it was chosen for; `*`: for all
  const Context* context(std::string_view name) const {
    const auto found =
        std::find_if(contexts.begin(), contexts.end(), [&](const Context& one) { return one.name == name; });
    return found == contexts.end() ? nullptr : &*found;
  }
  std::string current() const { return std::string(text_at(config, "currentContext")); }
};

bool is_our_context(std::string_view name) {
  return name == docker::context_name("default") || name.starts_with(docker::context_name(""));
}

json::object object_in(const fs::path& file) {
  try {
    error_code ec;
    json::value value = json::parse(read_file_if_exists(file).value_or(""), ec);
    if (!ec && value.is_object()) return std::move(value.get_object());
    return {};
  } catch (const Error&) {  // a folder of that name, somebody else's file
    return {};
  }
}

std::vector<fs::path> sorted(const fs::path& folder) {
  try {
    std::vector<fs::path> all = list_folder(folder);
    std::sort(all.begin(), all.end());
    return all;
  } catch (const Error&) {  // not ours to read
    return {};
  }
}

Told read(const ClientFolders& folders) {
  Told told;
  told.config = object_in(folders.docker / "config.json");
  for (const fs::path& folder : sorted(folders.docker / "contexts" / "meta")) {
    const json::object meta = object_in(folder / "meta.json");
    const json::value* endpoint = find_at(meta.if_contains("Endpoints"), "docker");
    if (endpoint != nullptr)
      told.contexts.push_back({std::string(text_at(meta, "Name")), std::string(text_at(*endpoint, "Host"))});
  }
  for (const fs::path& file : sorted(folders.buildx / "instances")) {
    const json::object instance = object_in(file);
    Builder builder{std::string(text_at(instance, "Name")), {}};
    const json::value* nodes = instance.if_contains("Nodes");
    if (nodes != nullptr && nodes->is_array())
      for (const json::value& node : nodes->get_array()) builder.endpoints.emplace_back(text_at(node, "Endpoint"));
    if (!builder.name.empty()) told.builders.push_back(std::move(builder));
  }
  const json::object chosen = object_in(folders.buildx / "current");
  told.builder = text_at(chosen, "Name");
  told.builder_of = text_at(chosen, "Key");
  const json::value* global = chosen.if_contains("Global");
  if (global != nullptr && global->is_bool() && global->get_bool()) told.builder_of = "*";
  return told;
}

/// Somebody whom docker is told to speak with, and who is not there.
struct Gone {
  std::string place;           ///< in words: "unix:///x", "the context 'x', which is not there"
  const Tool* tool = nullptr;  ///< nothing when nobody is known who has such names
  bool installed = false;
};

class Search {
 public:
  Search(const Told& told, const OtherTools& host) : told_(told), host_(host) {}

  /// Nothing for an endpoint that is answered, or that cannot be tried without a question to another computer.
  std::optional<Gone> at(const std::string& name, const std::string& endpoint) const {
    if (!endpoint.starts_with(unix_scheme)) return std::nullopt;
    const std::string path = endpoint.substr(unix_scheme.size());
    if (host_.answers(path)) return std::nullopt;
    Gone gone{endpoint};
    describe(gone, name, path);
    return gone;
  }

  /// Of a builder: the name of a context, or an address.
  std::optional<Gone> behind(const std::string& endpoint) const {
    if (endpoint.empty() || endpoint == "default" || is_our_context(endpoint)) return std::nullopt;
    if (endpoint.find("://") != std::string::npos) return at("", endpoint);
    if (const Context* context = told_.context(endpoint)) return at(context->name, context->endpoint);
    Gone gone{"the context '" + endpoint + "', which is not there"};
    describe(gone, endpoint, "");
    return gone;
  }

 private:
  void describe(Gone& gone, const std::string& name, const std::string& path) const {
    for (const Tool& tool : tools) {
      const bool its =
          path.find(tool.in_path) != std::string::npos || (!name.empty() && name.starts_with(tool.context));
      if (!its) continue;
      gone.tool = &tool;
      gone.installed = std::any_of(tool.installed.begin(), tool.installed.end(),
                                   [this](std::string_view one) { return !one.empty() && host_.is_here(one); });
      return;
    }
  }

  const Told& told_;
  const OtherTools& host_;
};

/// ", where nobody listens: it is left of Colima, which is not installed"
std::string why(const Gone& gone) {
  const bool no_context = !gone.place.starts_with(unix_scheme);
  std::string nobody = no_context ? "" : ", where nobody listens";
  if (gone.tool == nullptr) return nobody;
  return nobody + (gone.installed ? fmt::format("; {} does not run", gone.tool->name)
                                  : fmt::format("; it is left of {}, which is not installed", gone.tool->name));
}

Finding judge(const std::string& what, const Gone& gone, bool used, const std::string& removal) {
  Finding finding{"docker", Verdict::warning, fmt::format("{} leads to {}{}", what, gone.place, why(gone)), removal};
  const bool only_off = gone.tool != nullptr && gone.installed;
  if (only_off && !used) return Finding{"docker", Verdict::ok, finding.text, ""};
  if (only_off) finding.remedy = fmt::format("start {}; or {}", gone.tool->name, removal);
  if (gone.tool == nullptr) finding.remedy = "start what has listened there; or " + removal;
  return finding;
}

void judge_contexts(const Told& told, const Search& search, std::vector<Finding>& all) {
  for (const Context& one : told.contexts) {
    std::error_code unknown;
    const bool ours = is_our_context(one.name) && one.endpoint.starts_with(unix_scheme);
    // The folder of a machine that is stopped is there.
    if (ours && fs::exists(fs::path(one.endpoint.substr(unix_scheme.size())).parent_path(), unknown)) continue;
    const auto gone = search.at(one.name, one.endpoint);
    if (!gone) continue;
    const bool used = told.current() == one.name;
    const std::string what = fmt::format("the docker context '{}'{}", one.name, used ? ", which docker uses," : "");
    const std::string removal = fmt::format("docker context rm {}{}", used ? "--force " : "", one.name);
    Finding finding = judge(what, *gone, used, removal);
    if (ours) finding = {"docker", Verdict::warning, what + " is of a profile that is gone: " + one.endpoint, removal};
    all.push_back(std::move(finding));
  }
}

void judge_builders(const Told& told, const Search& search, std::vector<Finding>& all) {
  const auto chosen = [&told](const Builder& one) {
    const std::string context = told.current().empty() ? "default" : told.current();
    return told.builder == one.name && (told.builder_of == "*" || told.builder_of == context);
  };
  for (const Builder& one : told.builders) {
    for (const std::string& endpoint : one.endpoints) {
      const auto gone = search.behind(endpoint);
      if (!gone) continue;
      const bool used = chosen(one);
      const std::string what =
          fmt::format("the buildx builder '{}'{}", one.name, used ? ", by which docker builds," : "");
      all.push_back(judge(what, *gone, used, "docker buildx rm " + one.name));
      break;
    }
  }
  const bool there = std::any_of(told.builders.begin(), told.builders.end(),
                                 [&told](const Builder& one) { return one.name == told.builder; });
  if (!told.builder.empty() && told.builder != "default" && told.context(told.builder) == nullptr && !there)
    all.push_back({"docker", Verdict::warning,
                   fmt::format("buildx is told to use the builder '{}', which is not there", told.builder),
                   "docker buildx use default"});
}

/// "credsStore": "desktop" calls the program docker-credential-desktop, also for images that need no credentials.
void judge_helpers(const Told& told, const OtherTools& host, const fs::path& config, std::vector<Finding>& all) {
  std::set<std::string> helpers{std::string(text_at(told.config, "credsStore"))};
  if (const json::value* each = told.config.if_contains("credHelpers"); each != nullptr && each->is_object())
    for (const auto& [registry, helper] : each->get_object())
      if (helper.is_string()) helpers.emplace(helper.get_string());
  for (const std::string& helper : helpers) {
    const std::string program = "docker-credential-" + helper;
    if (helper.empty() || host.is_here(program)) continue;
    all.push_back({"docker", Verdict::warning,
                   fmt::format("{} has docker ask {} for passwords, which is not installed: pulls fail",
                               config.string(), program),
                   fmt::format("install it, or take '{}' out of credsStore and credHelpers of that file", helper)});
  }
}

void judge_plugins(const fs::path& folder, std::vector<Finding>& all) {
  for (const fs::path& file : sorted(folder)) {
    if (!is_link(file) || file_exists(file)) continue;
    std::error_code unknown;
    const fs::path target = fs::read_symlink(file, unknown);
    const std::string words = file.filename() == "docker-buildx"    ? "docker build and buildx"
                              : file.filename() == "docker-compose" ? "docker compose"
                                                                    : file.filename().string();
    all.push_back({"docker", Verdict::warning,
                   fmt::format("{} leads to {}, which is not there: docker has no {} by it", file.string(),
                               target.string(), words),
                   "rm '" + file.string() + "'; install the plugin where docker still lacks it"});
  }
}

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

}  // namespace

bool OtherTools::answers(const fs::path& path) const {
  asio::io_context io(1);
  UnixSocket socket(io);
  error_code ec;
  socket.open(asio::local::stream_protocol(), ec);
  if (ec) return true;
  socket.non_blocking(true, ec);        // one whose queue is full says so, and is somebody
  constexpr std::size_t longest = 100;  // of a path that is one of a socket everywhere
  std::error_code unknown;
  if (path.native().size() > longest) return fs::exists(path, unknown);
  socket.connect(asio::local::stream_protocol::endpoint(path.string()), ec);
  // Another user's socket may refuse us and be answered all the same.
  return !ec || ec == asio::error::would_block || ec == asio::error::try_again || ec == asio::error::in_progress ||
         ec == asio::error::access_denied;
}

bool OtherTools::is_here(std::string_view program_or_path) const {
  if (program_or_path.starts_with('/')) return file_exists(fs::path(program_or_path));
  return find_program(program_or_path).has_value();
}

ClientFolders client_folders() {
  const std::string docker = variable("DOCKER_CONFIG"), buildx = variable("BUILDX_CONFIG");
  ClientFolders folders;
  folders.docker = docker.empty() ? user_home() / ".docker" : fs::path(docker);
  folders.buildx = buildx.empty() ? folders.docker / "buildx" : fs::path(buildx);
  return folders;
}

std::vector<Finding> judge_other_tools(const ClientFolders& folders, const OtherTools& host) {
  const Told told = read(folders);
  const Search search(told, host);
  std::vector<Finding> all;
  judge_contexts(told, search, all);
  judge_builders(told, search, all);
  judge_helpers(told, host, folders.docker / "config.json", all);
  judge_plugins(folders.docker / "cli-plugins", all);
  return all;
}

}  // namespace cl
