#include "docker/client_proxies.hpp"

#include <sys/stat.h>

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

#include "src/base/async.hpp"
#include "src/base/error.hpp"
#include "src/base/file.hpp"
#include "src/base/json.hpp"

namespace cl::docker {
namespace {

namespace json = boost::json;

std::string engine_at(const fs::path& socket) { return "unix://" + socket.string(); }

/// An empty object for no file, or an empty one, as the client has it.
json::object parse_config(const fs::path& config, const std::optional<std::string>& text) {
  if (!text || text->find_first_not_of(" \t\r\n") == std::string::npos) return {};
  error_code ec;
  json::value value = json::parse(*text, ec);
  if (!ec && value.is_object()) {
    const json::value* proxies = value.get_object().if_contains("proxies");
    if (proxies == nullptr || proxies->is_object()) return std::move(value.get_object());
  }
  throw Error(Errc::host_requirement, "the docker CLI cannot read its own configuration", "correct " + config.string())
      .because(ec ? ec.message() : "it is no object, or its 'proxies' is none");
}

json::object entry(const ClientProxies& proxies) {
  json::object made;
  auto add = [&](const char* key, const std::string& value) {
    if (!value.empty()) made[key] = value;
  };
  add("httpProxy", proxies.http);
  add("httpsProxy", proxies.https);
  add("noProxy", proxies.none);
  return made;
}

unsigned mode_of(const fs::path& config) {
  struct stat status{};
  return ::stat(config.c_str(), &status) == 0 ? status.st_mode & 0777U : 0600U;
}

}  // namespace

fs::path client_config(const std::string& docker_config, const std::string& home) {
  const fs::path config =
      (docker_config.empty() ? fs::path(home) / ".docker" : fs::path(docker_config)) / "config.json";
  std::error_code nothing_there;
  const fs::path real = fs::canonical(config, nothing_there);
  return nothing_there ? config : real;
}

bool has_client_proxies(const fs::path& config, const fs::path& socket) {
  const json::object object = parse_config(config, read_file_if_exists(config));
  const json::value* proxies = object.if_contains("proxies");
  return proxies != nullptr && proxies->get_object().contains(engine_at(socket));
}

void set_client_proxies(const fs::path& config, const fs::path& socket, const std::optional<ClientProxies>& proxies) {
  const std::optional<std::string> before = read_file_if_exists(config);
  const json::object old = parse_config(config, before);
  json::object object = old;
  if (proxies) {
    json::value& all = object["proxies"];
    if (all.is_null()) all = json::object{};
    all.get_object()[engine_at(socket)] = entry(*proxies);
  } else if (json::value* all = object.if_contains("proxies")) {
    all->get_object().erase(engine_at(socket));
    if (all->get_object().empty()) object.erase("proxies");
  }
  if (object == old) return;
  std::error_code nothing_there;
  if (!fs::exists(config.parent_path(), nothing_there)) make_private_directory(config.parent_path());
  write_atomically(config, pretty_json(object, "\t"), mode_of(config));  // with tabs, as the client writes it
}

}  // namespace cl::docker
