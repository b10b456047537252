#include "src/app/engine.hpp"

#include <algorithm>
#include <boost/json/array.hpp>

#include "docker/api.hpp"
#include "src/base/net/socket_stream.hpp"

namespace cl {
namespace {

namespace json = boost::json;
using namespace std::chrono_literals;

const json::value* member(const json::object& object, std::string_view key) { return object.if_contains(key); }

/// -1 is the engine's word for "not known".
std::uint64_t number(const json::object& object, std::string_view key) {
  const json::value* value = member(object, key);
  if (value == nullptr || !value->is_number()) return 0;
  boost::system::error_code ec;
  const auto count = value->to_number<std::int64_t>(ec);
  return ec || count < 0 ? 0 : static_cast<std::uint64_t>(count);
}

bool flag(const json::object& object, std::string_view key) {
  const json::value* value = member(object, key);
  return value != nullptr && value->is_bool() && value->get_bool();
}

std::vector<const json::object*> list(const json::object& answer, std::string_view key) {
  std::vector<const json::object*> found;
  const json::value* value = member(answer, key);
  if (value == nullptr || !value->is_array()) return found;
  for (const json::value& one : value->get_array())
    if (one.is_object()) found.push_back(&one.get_object());
  return found;
}

DiskUse images_of(const json::object& answer) {
  DiskUse use{"images", 0, number(answer, "LayersSize"), 0};
  std::uint64_t used = 0;
  for (const json::object* image : list(answer, "Images")) {
    ++use.count;
    const std::uint64_t size = number(*image, "Size"), shared = number(*image, "SharedSize");
    if (number(*image, "Containers") > 0) used += size - std::min(size, shared);
  }
  use.reclaimable = use.bytes - std::min(use.bytes, used);
  return use;
}

DiskUse containers_of(const json::object& answer) {
  DiskUse use{"containers", 0, 0, 0};
  for (const json::object* container : list(answer, "Containers")) {
    ++use.count;
    const std::uint64_t size = number(*container, "SizeRw");
    const json::value* state = member(*container, "State");
    const bool alive = state != nullptr && (*state == json::value("running") || *state == json::value("paused") ||
                                            *state == json::value("restarting"));
    use.bytes += size;
    if (!alive) use.reclaimable += size;
  }
  return use;
}

DiskUse volumes_of(const json::object& answer) {
  DiskUse use{"volumes", 0, 0, 0};
  for (const json::object* volume : list(answer, "Volumes")) {
    ++use.count;
    const json::value* usage = member(*volume, "UsageData");
    if (usage == nullptr || !usage->is_object()) continue;
    const std::uint64_t size = number(usage->get_object(), "Size");
    use.bytes += size;
    if (number(usage->get_object(), "RefCount") == 0) use.reclaimable += size;
  }
  return use;
}

DiskUse build_cache_of(const json::object& answer) {
  DiskUse use{"build cache", 0, 0, 0};
  for (const json::object* entry : list(answer, "BuildCache")) {
    ++use.count;
    if (flag(*entry, "Shared")) continue;  // an image has it, too
    use.bytes += number(*entry, "Size");
    if (!flag(*entry, "InUse")) use.reclaimable += number(*entry, "Size");
  }
  return use;
}

}  // namespace

std::vector<DiskUse> disk_use_of(const json::object& answer) {
  return {images_of(answer), containers_of(answer), volumes_of(answer), build_cache_of(answer)};
}

asio::awaitable<std::vector<DiskUse>> engine_disk_use(std::filesystem::path socket) {
  auto engine = co_await connect_unix(std::move(socket));
  // It adds up every file of every volume.
  const json::object answer =
      co_await with_timeout(5min, "what the engine says of its disk", docker::disk_usage(*engine));
  co_return disk_use_of(answer);
}

asio::awaitable<Named> look_up(std::filesystem::path socket, std::string name) {
  auto engine = co_await connect_unix(std::move(socket));
  const auto found = co_await with_timeout(20s, "what the engine says of " + name, docker::container(*engine, name));
  Named named;
  if (found) {
    named.kind = Named::Kind::stopped_container;
    const json::value* state = member(*found, "State");
    if (state == nullptr || !state->is_object() || !flag(state->get_object(), "Running")) co_return named;
    named.kind = Named::Kind::running_container;
    named.pid = static_cast<std::int64_t>(number(state->get_object(), "Pid"));
    co_return named;
  }
  const auto image = co_await with_timeout(20s, "what the engine says of " + name, docker::image(*engine, name));
  if (image) named.kind = Named::Kind::image;
  co_return named;
}

asio::awaitable<std::map<std::string, std::string>> container_names(std::filesystem::path socket) {
  auto engine = co_await connect_unix(std::move(socket));
  const json::array running =
      co_await with_timeout(20s, "the engine's list of containers", docker::running_containers(*engine));
  std::map<std::string, std::string> names;
  for (const json::value& one : running) {
    if (!one.is_object()) continue;
    const json::value* id = member(one.get_object(), "Id");
    const json::value* all = member(one.get_object(), "Names");
    if (id == nullptr || !id->is_string()) continue;
    std::string name(id->get_string());
    if (all != nullptr && all->is_array() && !all->get_array().empty() && all->get_array().front().is_string())
      name = std::string(all->get_array().front().get_string());
    names[std::string(id->get_string())] = name.starts_with('/') ? name.substr(1) : name;
  }
  co_return names;
}

}  // namespace cl
