#include <sys/resource.h>

#include <cstdint>
#include <cstdio>

#include "src/base/confine.hpp"
#include "src/base/error.hpp"
#include "src/base/file.hpp"

/// Of libSystem, and of <sandbox.h> in a form that takes names of profiles alone: with no flags it takes a profile.
extern "C" int sandbox_init(const char* profile, std::uint64_t flags, char** error);

namespace cl {
namespace fs = std::filesystem;
namespace {

constexpr const char* sandbox_exec = "/usr/bin/sandbox-exec";

/// As a string of the profile's language.
std::string quoted(const fs::path& path) {
  std::string text = "\"";
  for (const char c : path.string()) {
    if (c == '"' || c == '\\') text += '\\';
    text += c;
  }
  return text + "\"";
}

}  // namespace

std::string why_no_confinement() {
  return file_exists(sandbox_exec) ? "" : std::string(sandbox_exec) + " is not there";
}

fs::path confining_program() { return sandbox_exec; }

std::vector<std::string> confined(const fs::path& program, const Confinement& limits,
                                  const std::vector<std::string>& argv) {
  // The later rule decides. A program needs the names of what is above its files, and of the system what dyld reads.
  std::string profile =
      "(version 1)(deny default)(allow process-exec)(allow sysctl-read)(allow file-read-metadata)"
      "(allow mach-lookup (global-name \"com.apple.system.opendirectoryd.libinfo\"))"
      "(allow file-read* (literal \"/\") (literal \"/dev/null\") (literal \"/dev/urandom\"))";
  for (const fs::path& path : limits.read)
    profile += "(allow file-read* file-map-executable (subpath " + quoted(path) + "))";
  for (const fs::path& path : limits.write) profile += "(allow file-read* file-write* (subpath " + quoted(path) + "))";
  // Also names that do not exist yet; what is above them stays where it is, and is not made as a link.
  for (const fs::path& path : limits.guarded.hidden)
    profile += "(deny file-read* file-write* (subpath " + quoted(path) + "))(allow file-read-metadata (literal " +
               quoted(path) + "))";
  for (const fs::path& path : limits.guarded.kept) profile += "(deny file-write* (subpath " + quoted(path) + "))";
  for (const auto* paths : {&limits.guarded.hidden, &limits.guarded.kept})
    for (const fs::path& path : *paths)
      for (fs::path above = path.parent_path(); above != limits.guarded.folder && above.has_relative_path();
           above = above.parent_path())
        profile += "(deny file-write-create file-write-unlink (literal " + quoted(above) + "))";
  profile += "(deny file-write-setugid)";
  std::vector<std::string> words{program.string(), "-p", profile};
  words.insert(words.end(), argv.begin(), argv.end());
  return words;
}

std::vector<std::string> guarded(const fs::path&, const GuardedPaths&, const std::vector<std::string>& argv,
                                 const std::optional<MoreIds>&) {
  return argv;  // confined() does that
}

std::string why_no_path_guard() { return why_no_confinement(); }

int run_guarded(int, char**) { return 1; }

std::vector<std::string> without_setuid(const fs::path&, const std::vector<std::string>& argv) { return argv; }

UniqueFd call_filter() { return {}; }

void seal_process(std::size_t) {
  constexpr rlimit nothing{0, 0};
  for (const int resource : {RLIMIT_CORE, RLIMIT_FSIZE}) ::setrlimit(resource, &nothing);
  char* why = nullptr;
  if (::sandbox_init("(version 1)(deny default)", 0, &why) == 0) return;
  throw Error(Errc::host_requirement, "the process that speaks SSH cannot be confined")
      .because(why != nullptr ? why : "sandbox_init fails");
}

std::vector<fs::path> system_libraries() { return {"/usr/lib", "/usr/libexec", "/System", "/opt/homebrew"}; }

int run_confined(int, char**) {
  std::fputs("colima-like: sandbox-exec confines programs here\n", stderr);
  return 1;
}

}  // namespace cl
