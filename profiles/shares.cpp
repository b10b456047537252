#include "profiles/shares.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>

#include "profiles/hidden.hpp"
#include "src/base/error.hpp"
#include "src/base/path.hpp"

namespace cl {
namespace json = boost::json;
namespace fs = std::filesystem;
namespace {

/// Where the guest keeps its own system: a folder mounted there, or above, would take it away.
constexpr std::array<std::string_view, 17> of_the_guest{"/bin",
                                                        "/boot",
                                                        "/dev",
                                                        "/etc",
                                                        "/lib",
                                                        "/lib64",
                                                        "/proc",
                                                        "/run",
                                                        "/sbin",
                                                        "/sys",
                                                        "/usr",
                                                        "/var/lib/colima-like",
                                                        "/var/lib/containerd",
                                                        "/var/lib/containers",
                                                        "/var/lib/docker",
                                                        "/var/lib/dpkg",
                                                        "/var/run"};

constexpr std::string_view owner_word = "owner=";

bool path_like(std::string_view text) {
  return !text.empty() && (text[0] == '/' || text == "~" || text.starts_with("~/"));
}

fs::path expanded(const std::string& text, const fs::path& home) {
  fs::path path = expand_home(text, home).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();  // "/a/"
  return path;
}

[[noreturn]] void refuse(const Share& share, const std::string& why, const std::string& remedy) {
  throw Error(Errc::invalid_config, share.written.string() + " cannot be shared at " + share.mount_point.string(),
              remedy)
      .because(why);
}

void check_mount_point(const Share& share) {
  const std::string remedy = "give it another mount point: " + share.written.string() + ":/mnt/NAME";
  if (share.mount_point == "/") refuse(share, "the machine has its own root", remedy);
  for (const std::string_view folder : of_the_guest)
    if (is_below(share.mount_point, folder) || is_below(folder, share.mount_point))
      refuse(share, std::string(folder) + " belongs to the machine's own system", remedy);
}

/// Whether `inner` is to be left out since `outer` shows it already. Throws when the two cannot both be.
bool covered(const Share& inner, const Share& outer) {
  const auto in_one_of = [&inner](const std::vector<fs::path>& paths) {
    return std::any_of(paths.begin(), paths.end(),
                       [&](const fs::path& path) { return is_below(inner.location, path); });
  };
  const bool differs = in_one_of(outer.hidden) || in_one_of(outer.kept);
  const bool same_way =
      inner.read_only == outer.read_only && inner.type == outer.type && inner.owner == outer.owner && !differs;
  if (inner.mount_point == outer.mount_point) {
    if (inner.location == outer.location && same_way) return true;
    refuse(inner, outer.written.string() + " is shared there already", "remove one of the two from 'shares'");
  }
  if (!is_below(inner.mount_point, outer.mount_point)) return false;
  // What is mounted inside another share hides what that one has there, so it must be the very same folder.
  const fs::path there = outer.location / inner.mount_point.lexically_relative(outer.mount_point);
  if (there != inner.location)
    refuse(inner, "that is inside the share " + outer.written.string() + ", whose own folder it would hide",
           "give it a mount point outside of " + outer.mount_point.string());
  // The guest sees a hidden folder, on which a share can be mounted, and nothing that is in one.
  for (const fs::path& path : outer.hidden)
    if (is_below(inner.location, path) && inner.location != path)
      refuse(inner, "that is in " + path.string() + ", which is hidden in the share " + outer.written.string(),
             "share " + path.string() + " itself, or give it a mount point outside of " + outer.mount_point.string());
  return same_way;
}

}  // namespace

bool is_share_type(std::string_view text) {
  return std::find(share_type_names.begin(), share_type_names.end(), text) != share_type_names.end();
}

std::optional<std::string> parse_share(std::string_view text, ShareItem& into) {
  const auto wrong = [text] {
    return "must be a path from / or ~ on, such as ~/src or ~/src:/src:ro, not '" + std::string(text) + "'";
  };
  into = {};
  if (!path_like(text.substr(0, text.find(':')))) return wrong();
  if (text.find_first_of(std::string_view("\n\0", 2)) != std::string_view::npos)
    return "must be a single line: " + std::string(text.substr(0, text.find('\n')));
  std::vector<std::string_view> parts;
  for (std::string_view rest = text;;) {
    const auto colon = rest.find(':');
    parts.push_back(rest.substr(0, colon));
    if (colon == std::string_view::npos) break;
    rest.remove_prefix(colon + 1);
  }
  into.location = into.mount_point = parts[0];
  bool has_mode = false;
  for (std::size_t i = 1; i < parts.size(); ++i) {
    const std::string_view part = parts[i];
    if (i == 1 && path_like(part)) {
      into.mount_point = part;
    } else if ((part == "ro" || part == "rw") && !has_mode) {
      into.read_only = part == "ro";
      has_mode = true;
    } else if (is_share_type(part) && into.type.empty()) {
      into.type = part;
    } else if (part.starts_with(owner_word) && !into.owner) {
      into.owner = parse_file_owner(part.substr(owner_word.size()));
      if (!into.owner)
        return "has '" + std::string(part) + "': an owner is a number, or two, such as owner=1000 or owner=1000.100";
    } else {
      return "has '" + std::string(part) + "', which is no mount point, ro, rw, owner=USER, " +
             or_list(share_type_names) + " (a path cannot have a colon): '" + std::string(text) + "'";
    }
  }
  return std::nullopt;
}

std::string folder_problem(const fs::path& folder) {
  std::error_code ec;
  const fs::file_status status = fs::status(folder, ec);
  if (status.type() == fs::file_type::not_found) return "there is no folder " + folder.string() + " on this computer";
  if (ec) return folder.string() + ": " + ec.message();
  if (status.type() != fs::file_type::directory) return folder.string() + " is no folder";
  if (::access(folder.c_str(), R_OK | X_OK) != 0) return folder.string() + " cannot be read by this user";
  return {};
}

std::vector<Share> plan_shares(const Profile& profile, const fs::path& home, const std::vector<fs::path>& own) {
  const HiddenPaths hide = hidden_paths(profile.share_hide, home, own);
  std::vector<Share> all;
  for (const std::string& text : profile.shares) {
    ShareItem item;
    if (const auto wrong = parse_share(text, item))
      throw Error(Errc::invalid_config, "an item of shares " + *wrong, "colima-like config edit");
    Share share;
    share.written = expanded(item.location, home);
    share.mount_point = expanded(item.mount_point, home);
    share.read_only = item.read_only;
    share.owner = item.owner;
    share.type = item.type.empty() ? profile.share_type : item.type;
    share.problem = folder_problem(share.written);
    std::error_code ec;
    share.location = fs::canonical(share.written, ec);
    if (ec) share.location = share.written;
    share.hidden = within(hide.hidden, share.location);
    share.kept = within(hide.kept, share.location);
    try {
      check_mount_point(share);
    } catch (const Error& error) {
      if (text != "~") throw;
      share.problem = one_line(error);  // nobody asked for it: an odd home is no reason to boot nothing
    }
    all.push_back(std::move(share));
  }
  // Parents first: what is inside them is mounted over them. Else in the order of the list.
  std::vector<std::pair<std::ptrdiff_t, std::size_t>> order;
  for (std::size_t i = 0; i < all.size(); ++i)
    order.emplace_back(std::distance(all[i].mount_point.begin(), all[i].mount_point.end()), i);
  std::sort(order.begin(), order.end());
  std::vector<Share> plan;
  for (const auto& [depth, index] : order) {
    Share& share = all[index];
    // The nearest share around it is what it would hide or repeat.
    const auto outer = std::find_if(plan.rbegin(), plan.rend(), [&share](const Share& other) {
      return is_below(share.mount_point, other.mount_point);
    });
    if (outer == plan.rend() || !covered(share, *outer)) plan.push_back(std::move(share));
  }
  return plan;
}

json::array to_json(const std::vector<ShareState>& shares) {
  json::array array;
  for (const ShareState& one : shares)
    array.push_back(json::object{{"location", one.location},
                                 {"written", one.written},
                                 {"mount_point", one.mount_point},
                                 {"read_only", one.read_only},
                                 {"type", one.type},
                                 {"why", one.why},
                                 {"tag", one.tag},
                                 {"problem", one.problem},
                                 {"hidden", json::array(one.hidden.begin(), one.hidden.end())},
                                 {"kept", json::array(one.kept.begin(), one.kept.end())},
                                 {"owner", one.owner}});
  return array;
}

std::vector<ShareState> shares_from_json(const json::array& array) {
  std::vector<ShareState> shares;
  for (const json::value& value : array) {
    const json::object& object = value.as_object();
    auto text = [&object](std::string_view key) { return std::string(object.at(key).as_string()); };
    auto list = [&object](std::string_view key) {
      std::vector<std::string> items;  // none by an older program
      if (const json::value* all = object.if_contains(key))
        for (const json::value& item : all->as_array()) items.emplace_back(item.as_string());
      return items;
    };
    shares.push_back({text("location"), text("written"), text("mount_point"), object.at("read_only").as_bool(),
                      text("type"), text("why"), text("tag"), text("problem"), list("hidden"), list("kept"),
                      object.contains("owner") ? text("owner") : ""});
  }
  return shares;
}

}  // namespace cl
