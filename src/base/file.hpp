#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/error.hpp"

/// Files of this host. Whatever fails throws Error{io} that names the path and says why; the throwing functions of
/// std::filesystem are not for product code, whose only exception is Error.
namespace cl {

namespace fs = std::filesystem;

/// The error of a system call on a file: "cannot <verb> <path>". Where the disk is full it says where to make room.
/// Call it with the errno of that very call.
Error file_error(std::string_view verb, const fs::path& path, int saved_errno);

/// The whole file. Throws Error{not_found} when it does not exist, Error{io} otherwise.
std::string read_file(const fs::path& path);
/// The whole file, or nothing when it does not exist.
std::optional<std::string> read_file_if_exists(const fs::path& path);

/// Replaces `path` so that a reader or a crash sees the old or the new bytes, never a mixture:
/// temporary file in the same directory, write, fsync, rename, fsync of the directory.
void write_atomically(const fs::path& path, std::string_view bytes, unsigned mode = 0600);

/// Whether anything is there; a symbolic link counts as what it leads to.
bool file_exists(const fs::path& path);
bool is_plain_file(const fs::path& path);
/// Whether it is itself a symbolic link.
bool is_link(const fs::path& path);
bool is_folder(const fs::path& path);
/// Its length.
std::uint64_t file_bytes(const fs::path& path);
/// Removes a file, a symbolic link or an empty folder; false when there was none.
bool remove_file(const fs::path& path);
/// Removes a folder with everything in it, if it is there.
void remove_tree(const fs::path& path);
/// Replaces what is at `to`.
void rename_file(const fs::path& from, const fs::path& to);
/// What is in a folder, as full paths in no order; nothing when there is no such folder.
std::vector<fs::path> list_folder(const fs::path& folder);
/// The path without symbolic links, "." and "..", as far as it exists.
fs::path real_path(const fs::path& path);
fs::path absolute_path(const fs::path& path);

/// Makes renames and removals in `directory` durable.
void sync_directory(const fs::path& directory);

/// Creates `path` and its parents as 0700. An existing one must belong to us and be closed to
/// everybody else (CVE-2021-3747 is what happens otherwise); a loose mode of our own is tightened.
void make_private_directory(const fs::path& path);

/// The last `count` lines of a text file with control characters removed; empty when there is none.
/// Reads at most 64 KiB from its end.
std::string tail_lines(const fs::path& path, std::size_t count);

/// The last `count` lines of `text`, without terminal control sequences.
std::string last_lines(std::string_view text, std::size_t count);

/// Bytes free for us on the file system that holds `path`.
std::uint64_t free_space(const fs::path& path);

/// Bytes really allocated for a (sparse) file.
std::uint64_t allocated_bytes(const fs::path& path);

/// A directory of its own below `parent`, removed with everything in it when this goes.
class TemporaryDirectory {
 public:
  explicit TemporaryDirectory(const fs::path& parent, std::string_view prefix = "tmp-");
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory();
  const fs::path& path() const noexcept { return path_; }

 private:
  fs::path path_;
};

}  // namespace cl
