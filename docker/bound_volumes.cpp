#include "docker/bound_volumes.hpp"

#include <algorithm>
#include <boost/json/object.hpp>
#include <functional>
#include <string_view>

#include "docker/api.hpp"

namespace cl {
namespace json = boost::json;
namespace {

std::string text(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

/// Calls `each(mount, name)` for every named volume that a container mounts.
void for_volumes(json::array& containers, const std::function<void(json::object&, const std::string&)>& each) {
  for (json::value& container : containers) {
    json::value* mounts = container.is_object() ? container.get_object().if_contains("Mounts") : nullptr;
    if (mounts == nullptr || !mounts->is_array()) continue;
    for (json::value& mount : mounts->get_array())
      if (mount.is_object() && text(mount.get_object(), "Type") == "volume")
        if (const std::string name = text(mount.get_object(), "Name"); !name.empty()) each(mount.get_object(), name);
  }
}

bool is_bind(const std::string& options) {
  for (std::string_view rest = options; !rest.empty();) {
    const auto comma = std::min(rest.find(','), rest.size());
    if (rest.substr(0, comma) == "bind" || rest.substr(0, comma) == "rbind") return true;
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  return false;
}

/// The folder that a volume is, or nothing.
std::string folder_of(const json::object& volume) {
  const json::value* options = volume.if_contains("Options");
  if (options == nullptr || !options->is_object() || text(volume, "Driver") != "local") return {};
  const std::string device = text(options->get_object(), "device");
  return is_bind(text(options->get_object(), "o")) && device.starts_with('/') ? device : std::string();
}

}  // namespace

asio::awaitable<void> BoundVolumes::resolve(ByteStream& engine, json::array& containers) {
  std::map<std::string, std::string> now;
  bool all_known = true;
  for_volumes(containers, [&](json::object&, const std::string& name) {
    const auto known = folders_.find(name);
    all_known = all_known && known != folders_.end();
    now[name] = known != folders_.end() ? known->second : "";
  });
  if (!all_known) {
    folders_ = now;  // should the engine not answer, the new ones are taken for ordinary
    const json::array volumes = co_await docker::volumes(engine);
    for (const json::value& volume : volumes)
      if (volume.is_object())
        if (const auto mounted = now.find(text(volume.get_object(), "Name")); mounted != now.end())
          mounted->second = folder_of(volume.get_object());
  }
  folders_ = std::move(now);
  for_volumes(containers, [this](json::object& mount, const std::string& name) {
    const std::string& folder = folders_.at(name);
    if (folder.empty()) return;
    mount["Type"] = "bind";
    mount["Source"] = folder;
  });
}

}  // namespace cl
