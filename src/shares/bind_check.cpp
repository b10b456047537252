#include "src/shares/bind_check.hpp"

#include <algorithm>
#include <array>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <optional>
#include <string>

#include "src/base/error.hpp"
#include "src/base/json.hpp"
#include "src/base/path.hpp"

namespace cl {
namespace json = boost::json;
namespace {

namespace fs = std::filesystem;

constexpr std::size_t json_depth = 64;

/// Folders of a Linux system. The guest has its own, with paths that this computer may not have.
constexpr std::array<std::string_view, 15> of_systems{"bin",  "boot", "dev",  "etc", "lib", "lib32", "lib64", "libx32",
                                                      "proc", "run",  "sbin", "sys", "usr", "var",   "cgroup"};

/// Paths that always mean the engine's own system, even if this computer has them, too: the kernel's and its devices,
/// the engine's files, and files with much the same content on every Linux system.
constexpr std::array<std::string_view, 22> of_every_engine{"/boot",
                                                           "/cgroup",
                                                           "/dev",
                                                           "/proc",
                                                           "/sys",
                                                           "/lib/modules",
                                                           "/usr/lib/modules",
                                                           "/usr/src",
                                                           "/var/lib/docker",
                                                           "/var/lib/containerd",
                                                           "/run/docker",
                                                           "/run/docker.sock",
                                                           "/run/containerd",
                                                           "/var/run/docker",
                                                           "/var/run/docker.sock",
                                                           "/var/run/containerd",
                                                           "/etc/localtime",
                                                           "/etc/timezone",
                                                           "/etc/hosts",
                                                           "/etc/resolv.conf",
                                                           "/etc/ssl/certs",
                                                           "/usr/share/zoneinfo"};

}  // namespace

bool is_of_the_engine(const fs::path& path, const BindRules& rules) {
  // Only these folders themselves, for containers that monitor the machine. A path below them may be the user's.
  if (path == "/" || path == "/run" || path == "/var/run" || path == rules.socket) return true;
  return std::any_of(of_every_engine.begin(), of_every_engine.end(), [&path](auto own) { return is_below(path, own); });
}

const SharedFolder* share_around(const fs::path& path, const BindRules& rules) {
  const SharedFolder* innermost = nullptr;
  for (const SharedFolder& folder : rules.shared) {
    const bool inside = is_below(path, folder.mount_point);
    if (inside && (innermost == nullptr || is_below(folder.mount_point, innermost->mount_point))) innermost = &folder;
  }
  return innermost;
}

namespace {

/// Whether `path` means the guest's own system: is_of_the_engine(), or a path of a system that this computer does not
/// have.
asio::awaitable<bool> of_the_guests_own(const fs::path& path, const BindRules& rules, std::chrono::milliseconds limit) {
  if (is_of_the_engine(path, rules)) co_return true;
  const std::string top = *std::next(path.begin());
  if (std::find(of_systems.begin(), of_systems.end(), top) == of_systems.end()) co_return false;
  auto there = [path] {
    std::error_code unknown;
    return fs::exists(fs::symlink_status(path, unknown));
  };
  co_return !co_await look_at(path, std::move(there), limit);
}

[[noreturn]] void refuse(const std::string& what, std::string_view because, std::string remedy) {
  remedy += "; 'colima-like config set check_binds false' and 'colima-like apply' turn this check off";
  throw Error(Errc::invalid_config, what, std::move(remedy)).because(because);
}

/// Refuses `real`, what `path` is on the host, when it is hidden in its share.
asio::awaitable<void> check_hidden(const fs::path& path, const fs::path& real, const SharedFolder& folder,
                                   const BindRules& rules, std::chrono::milliseconds limit) {
  const auto rule = std::find_if(folder.hidden.begin(), folder.hidden.end(),
                                 [&real](const fs::path& hidden) { return is_below(real, hidden); });
  if (rule == folder.hidden.end()) co_return;
  const fs::path& hidden = *rule;
  auto look = [hidden] {
    std::error_code unknown;
    return fs::is_regular_file(hidden, unknown);
  };
  const bool is_file = co_await look_at(hidden, std::move(look), limit);
  std::string items;
  for (const std::string& item : rules.hide) items += item + ",";
  const std::string remedy =
      is_file ? "colima-like config set share_hide '" + items + hidden.string() + ":rw', and 'colima-like restart'"
              : "colima-like share add '" + hidden.string() + ":ro'";
  const std::string what =
      is_below(path, folder.mount_point / hidden.lexically_relative(folder.location))
          ? path.string() + " is hidden from the machine"
          : path.string() + " is a link to " + real.string() + ", which is hidden from the machine";
  refuse(what, "share_hide keeps keys and passwords of this computer from it (docs/shares.md, \"What is hidden\")",
         remedy);
}

/// Follows the links in a path that the guest sees. In the guest an absolute link leads to a path of the guest.
asio::awaitable<void> check_links(const fs::path& path, const SharedFolder& folder, const BindRules& rules,
                                  std::chrono::milliseconds limit) {
  const fs::path there = folder.location / path.lexically_relative(folder.mount_point);
  auto follow = [there]() -> std::optional<fs::path> {
    std::error_code unknown;
    fs::path end = fs::weakly_canonical(there, unknown).lexically_normal();
    if (unknown) return std::nullopt;
    return end;
  };
  const std::optional<fs::path> led = co_await look_at(there, std::move(follow), limit);
  if (led) co_await check_hidden(path, *led, folder, rules, limit);
  if (!led || is_below(*led, folder.location)) co_return;
  const fs::path& real = *led;
  const auto shown = std::any_of(rules.shared.begin(), rules.shared.end(), [&real](const SharedFolder& other) {
    return is_below(real, other.location) && other.problem.empty() && other.mount_point == other.location;
  });
  if (shown || co_await of_the_guests_own(real, rules, limit)) co_return;
  refuse(path.string() + " is a link to " + real.string() + ", which is not shared with the machine",
         "the container would find nothing there", "colima-like share add '" + real.string() + "'");
}

/// `without` says what the container or volume would be if the guest does not see `source`.
asio::awaitable<void> check(std::string_view source, std::string_view without, const BindRules& rules,
                            std::chrono::milliseconds limit) {
  if (!source.starts_with('/') || rules.relayed.contains(std::string(source))) co_return;  // a volume's name
  const fs::path path = fs::path(source).lexically_normal();
  if (const SharedFolder* folder = share_around(path, rules); folder != nullptr) {
    if (!folder->problem.empty())
      refuse(
          path.string() + " is in the share " + folder->mount_point.string() + ", which the machine does not see now",
          folder->problem, "see 'colima-like status'");
    if (path == rules.socket) co_return;
    const fs::path named = folder->location / path.lexically_relative(folder->mount_point);
    co_await check_hidden(path, named.lexically_normal(), *folder, rules, limit);
    co_await check_links(path, *folder, rules, limit);
    co_return;
  }
  if (co_await of_the_guests_own(path, rules, limit)) co_return;
  if (!rules.instead.empty()) refuse(path.string() + " is a folder of this computer", without, rules.instead);
  refuse(path.string() + " is not shared with the machine", without,
         "share it: colima-like share add '" + path.string() + "', or a folder above it; or use a volume");
}

std::string_view text(const json::value* value) {
  return value != nullptr && value->is_string() ? std::string_view(value->get_string()) : std::string_view();
}

constexpr std::string_view empty_folder = "the container would find an empty folder there";
constexpr std::string_view no_folder = "the volume would have nothing behind it";

/// The folder that the local driver binds as a volume: type=none, o=bind, device=FOLDER. Empty for any other volume.
std::string_view folder_of_volume(const json::value* options) {
  const std::string words = "," + std::string(text(find_at(options, "o"))) + ",";
  const bool binds = words.find(",bind,") != std::string::npos || words.find(",rbind,") != std::string::npos;
  return binds ? text(find_at(options, "device")) : std::string_view();
}

asio::awaitable<void> check_mounts(const json::value* mounts, const BindRules& rules, std::chrono::milliseconds limit) {
  if (mounts == nullptr || !mounts->is_array()) co_return;
  for (const json::value& mount : mounts->get_array()) {
    if (text(find_at(&mount, "Type")) == "bind")
      co_await check(text(find_at(&mount, "Source")), empty_folder, rules, limit);
    const json::value* driver = find_at(find_at(&mount, "VolumeOptions"), "DriverConfig");
    co_await check(folder_of_volume(find_at(driver, "Options")), no_folder, rules, limit);
  }
}

std::optional<json::value> read_call(const std::string& body) {
  json::parse_options options;
  options.max_depth = json_depth;
  boost::system::error_code ec;
  json::value call = json::parse(body, ec, {}, options);
  if (ec) return std::nullopt;
  return call;
}

/// Of -v, SOURCE:TARGET[:OPTIONS]; without a colon it is a new volume at TARGET.
std::vector<std::string> sources_of_binds(const json::value* binds) {
  std::vector<std::string> sources;
  if (binds == nullptr || !binds->is_array()) return sources;
  for (const json::value& bind : binds->get_array()) {
    const std::string_view words = text(&bind);
    if (const auto colon = words.find(':'); colon != std::string_view::npos) sources.emplace_back(words, 0, colon);
  }
  return sources;
}

const json::value* mounts_of_service(const json::value& call) {
  return find_at(find_at(find_at(&call, "TaskTemplate"), "ContainerSpec"), "Mounts");
}

}  // namespace

std::vector<std::string> bind_sources(const std::string& body) {
  const auto call = read_call(body);
  if (!call) return {};
  const json::value* host = find_at(&*call, "HostConfig");
  std::vector<std::string> sources = sources_of_binds(find_at(host, "Binds"));
  for (const json::value* mounts : {find_at(host, "Mounts"), mounts_of_service(*call)}) {
    if (mounts == nullptr || !mounts->is_array()) continue;
    for (const json::value& mount : mounts->get_array())
      if (text(find_at(&mount, "Type")) == "bind") sources.emplace_back(text(find_at(&mount, "Source")));
  }
  return sources;
}

asio::awaitable<void> check_binds(std::string body, BindRules rules, std::chrono::milliseconds limit) {
  const auto call = read_call(body);
  if (!call) co_return;
  const json::value* host = find_at(&*call, "HostConfig");
  for (const std::string& source : sources_of_binds(find_at(host, "Binds")))
    co_await check(source, empty_folder, rules, limit);
  co_await check_mounts(find_at(host, "Mounts"), rules, limit);
  co_await check_mounts(mounts_of_service(*call), rules, limit);
  co_await check(folder_of_volume(find_at(&*call, "DriverOpts")), no_folder, rules, limit);
}

}  // namespace cl
