#include "profiles/hidden.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "src/base/error.hpp"
#include "src/base/path.hpp"

namespace cl {
namespace fs = std::filesystem;
namespace {

using Way = HideItem::Way;

/// Keys, tokens and passwords, below the home. docs/shares.md lists them.
constexpr auto hidden_by_default = std::to_array<std::string_view>(
    {".ssh", ".gnupg", ".aws", ".azure", ".config/gcloud", ".kube", ".docker/config.json",
     // browsers: as packages, as snaps, as flatpaks, on macOS
     ".mozilla", ".config/mozilla", ".config/google-chrome", ".config/chromium", ".config/BraveSoftware",
     ".config/microsoft-edge", ".config/opera", ".config/vivaldi", "snap/firefox", "snap/chromium", "snap/brave",
     ".var/app/org.mozilla.firefox", ".var/app/com.google.Chrome", ".var/app/org.chromium.Chromium",
     ".var/app/com.brave.Browser", ".var/app/com.microsoft.Edge", "Library/Application Support/Firefox",
     "Library/Application Support/Google/Chrome", "Library/Application Support/Chromium",
     "Library/Application Support/BraveSoftware", "Library/Application Support/Microsoft Edge",
     "Library/Application Support/com.operasoftware.Opera", "Library/Application Support/Vivaldi", "Library/Cookies",
     "Library/Safari", "Library/Containers/com.apple.Safari"});

/// What a shell of this computer runs when it starts, below the home.
constexpr auto kept_by_default = std::to_array<std::string_view>(
    {".profile",          ".bashrc", ".bash_profile", ".bash_login", ".bash_logout", ".bash_aliases", ".zshenv",
     ".zprofile",         ".zshrc",  ".zlogin",       ".zlogout",    ".kshrc",       ".mkshrc",       ".cshrc",
     ".tcshrc",           ".login",  ".logout",       ".xprofile",   ".xsessionrc",  ".config/fish",  ".config/nushell",
     ".config/powershell"});

fs::path plain(const std::string& text, const fs::path& home) {
  fs::path path = expand_home(text, home).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();  // "/a/"
  return path;
}

}  // namespace

std::optional<std::string> parse_hide(std::string_view text, HideItem& into) {
  into = {};
  if (text == "default") {
    into.defaults = true;
    return std::nullopt;
  }
  const auto colon = text.find(':');
  const std::string_view path = text.substr(0, colon);
  const std::string_view way = colon == std::string_view::npos ? "" : text.substr(colon + 1);
  if (path.size() < 2 || path.find_first_not_of("~/") == std::string_view::npos ||
      (path[0] != '/' && !path.starts_with("~/")) ||
      text.find_first_of(std::string_view("\n\0", 2)) != std::string_view::npos)
    return "must be default, or a path below / or ~ such as ~/.netrc, not '" +
           std::string(text.substr(0, text.find('\n'))) + "'";
  if (colon != std::string_view::npos && way != "ro" && way != "rw")
    return "has '" + std::string(way) + "', which is not ro or rw (a path cannot have a colon): '" + std::string(text) +
           "'";
  into.path = path;
  into.way = way == "ro" ? Way::read_only : way == "rw" ? Way::shown : Way::hidden;
  return std::nullopt;
}

HiddenPaths hidden_paths(const std::vector<std::string>& items, const fs::path& home,
                         const std::vector<fs::path>& own) {
  std::map<fs::path, Way> ways;
  for (const std::string& text : items) {
    HideItem item;
    if (const auto wrong = parse_hide(text, item))
      throw Error(Errc::invalid_config, "an item of share_hide " + *wrong, "colima-like config edit");
    if (!item.defaults) {
      ways[plain(item.path, home)] = item.way;
      continue;
    }
    for (const fs::path& path : own) ways[plain(path.string(), home)] = Way::hidden;
    for (const std::string_view name : hidden_by_default) ways[home / name] = Way::hidden;
    for (const std::string_view name : kept_by_default) ways[home / name] = Way::read_only;
  }
  HiddenPaths paths;
  for (const auto& [path, way] : ways) {
    if (way == Way::hidden) paths.hidden.push_back(path);
    if (way == Way::read_only) paths.kept.push_back(path);
  }
  return paths;
}

std::vector<fs::path> within(const std::vector<fs::path>& paths, const fs::path& folder) {
  std::set<fs::path> found;
  for (const fs::path& path : paths) {
    std::error_code unknown;  // then the path as it is written
    const fs::path parent = fs::weakly_canonical(path.parent_path(), unknown);
    const fs::path by_name = unknown ? path : parent / path.filename();
    const fs::path end = fs::weakly_canonical(path, unknown);
    for (const fs::path& one : {by_name, unknown ? by_name : end})
      if (is_below(one, folder) && one != folder) found.insert(one);
  }
  return {found.begin(), found.end()};
}

}  // namespace cl
