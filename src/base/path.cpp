#include "src/base/path.hpp"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

namespace cl {
namespace fs = std::filesystem;

std::optional<fs::path> home_directory() {
  const char* home = std::getenv("HOME");
  if (home != nullptr && *home == '/') return fs::path(home).lexically_normal();
  const passwd* user = ::getpwuid(::geteuid());
  if (user == nullptr || user->pw_dir == nullptr || *user->pw_dir != '/') return std::nullopt;
  return user->pw_dir;
}

std::string user_name() {
  if (const passwd* user = ::getpwuid(::geteuid()); user != nullptr && user->pw_name != nullptr) return user->pw_name;
  const char* told = std::getenv("USER");
  return told != nullptr ? told : "";
}

fs::path user_home() { return home_directory().value_or("/"); }

fs::path expand_home(const std::string& text, const fs::path& home) {
  if (text == "~") return home;
  return text.starts_with("~/") ? home / text.substr(2) : fs::path(text);
}

bool is_below(const fs::path& path, const fs::path& folder) {
  const auto [end, unused] = std::mismatch(folder.begin(), folder.end(), path.begin(), path.end());
  return end == folder.end() || (std::next(end) == folder.end() && end->empty());  // "/a/" ends with an empty name
}

}  // namespace cl
