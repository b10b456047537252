#include "src/base/path_guard.hpp"

#include <algorithm>
#include <string_view>

namespace cl {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool begins_with(std::string_view text, std::string_view head) {
  return text.size() >= head.size() &&
         std::equal(head.begin(), head.end(), text.begin(), [](char a, char b) { return lower(a) == lower(b); });
}

enum class Place { elsewhere, above, same, below };

/// Where `path` is, seen from `other`.
Place place_of(std::string_view path, std::string_view other) {
  if (path == "/") return Place::above;
  if (begins_with(path, other)) {
    if (path.size() == other.size()) return Place::same;
    return path[other.size()] == '/' ? Place::below : Place::elsewhere;
  }
  return begins_with(other, path) && other[path.size()] == '/' ? Place::above : Place::elsewhere;
}

bool allows(Place place, PathUse use, bool hidden) {
  switch (place) {
    case Place::elsewhere: return true;
    // A folder of that name elsewhere, or a link of that name, would lead this computer's programs past the rule.
    case Place::above: return use != PathUse::remove && use != PathUse::make;
    case Place::same: return use == PathUse::look || (!hidden && use == PathUse::read);
    case Place::below: return !hidden && (use == PathUse::look || use == PathUse::read);
  }
  return false;
}

}  // namespace

std::string why_no_path_guard(int ptrace_scope, bool is_root) {
  constexpr int root_alone = 2, nobody = 3;
  if (ptrace_scope < root_alone || (ptrace_scope < nobody && is_root)) return {};
  return "the kernel lets no program of this user read another's memory (kernel.yama.ptrace_scope is " +
         std::to_string(ptrace_scope) + ")";
}

bool may_use(const GuardedPaths& guarded, const std::string& path, PathUse use) {
  const auto allowed = [&](bool hidden) {
    return
        [&, hidden](const std::filesystem::path& rule) { return allows(place_of(path, rule.native()), use, hidden); };
  };
  return std::all_of(guarded.hidden.begin(), guarded.hidden.end(), allowed(true)) &&
         std::all_of(guarded.kept.begin(), guarded.kept.end(), allowed(false));
}

}  // namespace cl
