#include "src/shares/bind_check.hpp"

#include <algorithm>
#include <array>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <optional>
#include <string>

#include "src/base/error.hpp"
#include "src/base/path.hpp"

namespace cl {
namespace json = boost::json;
namespace {

namespace fs = std::filesystem;

constexpr std::size_t json_depth = 64;

/// Where tools that manage the engine's machine look, and where no user keeps a project.
constexpr std::array<std::string_view, 15> of_the_guest{"bin",   "boot",  "dev",    "etc",  "lib",
                                                        "lib32", "lib64", "libx32", "proc", "run",
                                                        "sbin",  "sys",   "usr",    "var",  "cgroup"};

bool of_the_guests_own(const fs::path& path, const BindRules& rules) {
  if (path == "/" || path == rules.socket) return true;
  const std::string top = *std::next(path.begin());
  return std::find(of_the_guest.begin(), of_the_guest.end(), top) != of_the_guest.end();
}

/// The share that shows `path` in the guest: the innermost one. Null when there is none.
const SharedFolder* around(const fs::path& path, const BindRules& rules) {
  const SharedFolder* innermost = nullptr;
  for (const SharedFolder& folder : rules.shared) {
    const bool inside = is_below(path, folder.mount_point);
    if (inside && (innermost == nullptr || is_below(folder.mount_point, innermost->mount_point))) innermost = &folder;
  }
  return innermost;
}

[[noreturn]] void refuse(const std::string& what, std::string_view because, std::string remedy) {
  remedy += "; 'colima-like config set check_binds false' and 'colima-like apply' turn this check off";
  throw Error(Errc::invalid_config, what, std::move(remedy)).because(because);
}

/// Follows the links in a path that the guest sees. Absolute ones lead to a path of the guest's.
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
  if (!led || is_below(*led, folder.location)) co_return;
  const fs::path& real = *led;
  const auto shown = std::any_of(rules.shared.begin(), rules.shared.end(), [&real](const SharedFolder& other) {
    return is_below(real, other.location) && other.problem.empty() && other.mount_point == other.location;
  });
  if (shown || of_the_guests_own(real, rules)) co_return;
  refuse(path.string() + " is a link to " + real.string() + ", which is not shared with the machine",
         "the container would find nothing there", "colima-like share add '" + real.string() + "'");
}

asio::awaitable<void> check(std::string_view source, const BindRules& rules, std::chrono::milliseconds limit) {
  if (!source.starts_with('/')) co_return;  // a volume's name
  const fs::path path = fs::path(source).lexically_normal();
  if (const SharedFolder* folder = around(path, rules); folder != nullptr) {
    if (!folder->problem.empty())
      refuse(
          path.string() + " is in the share " + folder->mount_point.string() + ", which the machine does not see now",
          folder->problem, "see 'colima-like status'");
    co_await check_links(path, *folder, rules, limit);
    co_return;
  }
  if (of_the_guests_own(path, rules)) co_return;
  refuse(path.string() + " is not shared with the machine", "the container would find an empty folder there",
         "share it: colima-like share add '" + path.string() + "', or a folder above it; or use a volume");
}

const json::value* find(const json::value* in, std::string_view key) {
  return in != nullptr && in->is_object() ? in->get_object().if_contains(key) : nullptr;
}

std::string_view text(const json::value* value) {
  return value != nullptr && value->is_string() ? std::string_view(value->get_string()) : std::string_view();
}

}  // namespace

asio::awaitable<void> check_binds(std::string body, BindRules rules, std::chrono::milliseconds limit) {
  json::parse_options options;
  options.max_depth = json_depth;
  boost::system::error_code ec;
  const json::value call = json::parse(body, ec, {}, options);
  const json::value* host = ec ? nullptr : find(&call, "HostConfig");
  if (const json::value* binds = find(host, "Binds"); binds != nullptr && binds->is_array())
    for (const json::value& bind : binds->get_array()) {
      const std::string_view words = text(&bind);  // SOURCE:TARGET[:OPTIONS]; without a colon a new volume at TARGET
      if (words.find(':') != std::string_view::npos) co_await check(words.substr(0, words.find(':')), rules, limit);
    }
  if (const json::value* mounts = find(host, "Mounts"); mounts != nullptr && mounts->is_array())
    for (const json::value& mount : mounts->get_array())
      if (text(find(&mount, "Type")) == "bind") co_await check(text(find(&mount, "Source")), rules, limit);
}

}  // namespace cl
