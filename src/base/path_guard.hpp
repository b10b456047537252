#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace cl {

/// What a server of one folder keeps from whoever asks it. Paths of this computer without links, each below `folder`;
/// none of them has to exist.
struct GuardedPaths {
  std::filesystem::path folder;               ///< that it serves, without links
  std::vector<std::filesystem::path> hidden;  ///< files, and folders with all in them: not read and not changed
  std::vector<std::filesystem::path> kept;    ///< likewise: read, but not changed and not made
  bool empty() const { return hidden.empty() && kept.empty(); }
};

/// What is done to a path.
enum class PathUse {
  look,   ///< its name and attributes; of a link, where it leads
  read,   ///< what is in it
  write,  ///< what is in it, or its attributes
  make,   ///< a new name, whatever is there now
  make_folder,
  remove,  ///< its name goes, or becomes another
};

/// Whether the paths may be used so. A folder that is hidden may be looked at, and nothing in it; what is above it
/// stays where it is. Names are compared without regard to case, as some file systems do. Pure.
bool may_use(const GuardedPaths& guarded, const std::string& path, PathUse use);

/// Further ids that a program of a user gets in a user name space of its own, where the user is 0: first and count.
using IdRange = std::pair<std::uint32_t, std::uint32_t>;
struct MoreIds {
  IdRange uids, gids;
};

/// The argv that runs `argv` so that it cannot use the paths (Linux): this program, as confining_program(), stays as
/// its parent and is asked by the kernel (seccomp) about each of its calls that has a path. It ends with it. That holds
/// for a program that does what it was written for: one that was taken over, with threads, can change a path after it
/// was looked at.
std::vector<std::string> guarded(const std::filesystem::path& program, const GuardedPaths& paths,
                                 const std::vector<std::string>& argv, const std::optional<MoreIds>& ids = {});

/// Why this system cannot do that; empty: it can.
std::string why_no_path_guard();
/// The same of Yama's ptrace_scope, by which a system forbids that one program reads another's memory. Pure.
std::string why_no_path_guard(int ptrace_scope, bool is_root);

/// The process of such an argv: `colima-like confine paths ... -- ARGV`. Its exit code is that of the program; 1 with a
/// line on stderr when it cannot.
int run_guarded(int argc, char** argv);

}  // namespace cl
