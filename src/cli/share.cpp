#include <algorithm>
#include <boost/json.hpp>
#include <iostream>

#include "profiles/edit.hpp"
#include "profiles/shares.hpp"
#include "src/base/file.hpp"
#include "src/base/path.hpp"
#include "src/cli/command.hpp"
#include "src/cli/config.hpp"
#include "src/cli/launch.hpp"
#include "src/cli/output.hpp"
#include "src/cli/summary.hpp"

// `share add`, `remove` and `list`. The first two edit the key `shares` of the profile's file, as `config set` would,
// and let a running machine apply it.

namespace cl::cli {
namespace {

namespace json = boost::json;

/// A path as the profile has it: absolute, but what begins with ~ stays so.
std::string absolute_item(const std::string& text) {
  if (text.empty() || text[0] == '/' || text[0] == '~') return text;
  const auto colon = std::min(text.find(':'), text.size());
  fs::path location = absolute_path(text.substr(0, colon)).lexically_normal();
  if (!location.has_filename()) location = location.parent_path();
  return location.string() + text.substr(colon);
}

/// The path that an item means, so that "~/src" and "/home/u/src/" are the same.
fs::path location_of(const std::string& item) {
  ShareItem parts;
  if (parse_share(item, parts)) return item;
  fs::path path = expand_home(parts.location).lexically_normal();
  return path.has_filename() ? path : path.parent_path();
}

asio::awaitable<int> apply_to(const ProfilePaths& paths) {
  rpc::Connection daemon = co_await reach_daemon(paths, false);
  rpc::Apply request;
  const rpc::Told told = co_await call_with_progress(daemon, std::move(request));
  for (const std::string& note : told.notes) print_note(note);
  co_return 0;
}

std::vector<std::string> items_of(const ConfigFile& config) { return load_layers(config.paths, {}, {}).profile.shares; }

/// Writes the list into the file, and lets a running machine have it.
int install(const ConfigFile& config, const std::vector<std::string>& items) {
  const std::string value = json::serialize(json::array(items.begin(), items.end()));
  {
    const FileLock lock = config.lock();
    config.install(set_in_file(config.read(), *find_key("shares"), value, config.file.string()));
  }
  const Observed seen = observe(config.paths);
  if (!seen.machine_alive || (seen.state.phase != "running" && seen.daemon_alive)) {
    print_note("the machine does not run; its next start uses this");
    return 0;
  }
  return run_async(apply_to(config.paths));
}

void check_folder(const std::string& item) {
  ShareItem parts;
  if (const auto wrong = parse_share(item, parts)) throw Error(Errc::usage, "a share " + *wrong);
  if (const std::string problem = folder_problem(location_of(item)); !problem.empty())
    throw Error(Errc::not_found, "it cannot be shared: " + problem, "make the folder first");
}

/// The same folder with other options takes the place of what there was.
void put(std::vector<std::string>& items, const std::string& item) {
  std::erase_if(items, [&item](const std::string& old) { return location_of(old) == location_of(item); });
  items.push_back(item);
}

}  // namespace

std::string with_shares(std::vector<std::string> items, const std::vector<std::string>& more) {
  for (const std::string& one : more) {
    const std::string item = absolute_item(one);
    check_folder(item);
    put(items, item);
  }
  return json::serialize(json::array(items.begin(), items.end()));
}

int run_share_add(const Invocation& call) {
  const ConfigFile config = config_file(call);
  require_profile(config.paths);
  const std::string item = absolute_item(call.word("SHARE"));
  check_folder(item);
  std::vector<std::string> items = items_of(config);
  put(items, item);
  Profile wanted = load_layers(config.paths, {}, {}).profile;
  wanted.shares = items;
  plan_shares(wanted, user_home(),
              {config.paths.directory.parent_path()});  // what would be refused is, before anything is written
  return install(config, items);
}

int run_share_remove(const Invocation& call) {
  const ConfigFile config = config_file(call);
  require_profile(config.paths);
  const fs::path location = location_of(absolute_item(call.word("SHARE")));
  std::vector<std::string> items = items_of(config);
  if (std::erase_if(items, [&location](const std::string& old) { return location_of(old) == location; }) == 0)
    throw Error(Errc::not_found, location.string() + " is not one of the profile's shares", "colima-like share list");
  return install(config, items);
}

int run_share_list(const Invocation& call) {
  const ProfilePaths paths = profile_paths(call.home, call.profile);
  require_profile(paths);
  const json::object status = describe(call.home, call.profile);
  json::array shares;
  if (const json::value* known = status.if_contains("shares")) {
    shares = known->as_array();
  } else {
    for (const std::string& item : load_layers(paths, {}, {}).profile.shares) {
      ShareItem parts;
      parse_share(item, parts);
      shares.push_back(json::object{{"location", parts.location},
                                    {"mount_point", parts.mount_point},
                                    {"read_only", parts.read_only},
                                    {"type", parts.type.empty() ? "auto" : parts.type},
                                    {"state", "not running"}});
      if (parts.owner) shares.back().as_object()["owner"] = to_string(*parts.owner);
    }
  }
  if (call.json) {
    print_json(shares);
    return 0;
  }
  if (shares.empty()) print_note("no folder is shared; 'colima-like share add FOLDER' shares one");
  if (shares.empty()) return 0;
  std::vector<std::vector<std::string>> rows{{"LOCATION", "MOUNT POINT", "ACCESS", "TYPE", "STATE"}};
  for (const json::value& one : shares) {
    const json::object& share = one.as_object();
    auto text = [&share](std::string_view key) {
      const json::value* value = share.if_contains(key);
      return value != nullptr ? std::string(value->as_string()) : std::string();
    };
    const std::string owner = text("owner");
    rows.push_back({text("location"), text("mount_point"),
                    (share.at("read_only").as_bool() ? "ro" : "rw") + (owner.empty() ? "" : " as " + owner),
                    text("type"), text("state")});
  }
  print_table(rows);
  for (const json::value& one : shares)
    if (const json::value* problem = one.as_object().if_contains("problem"))
      print_note(std::string(one.at("location").as_string()) + ": " + std::string(problem->as_string()));
  return 0;
}

}  // namespace cl::cli
