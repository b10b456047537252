#include "src/base/file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "src/base/error.hpp"
#include "src/base/own_directory.hpp"
#include "src/base/unique_fd.hpp"

namespace cl {
namespace {

std::string read_all(int fd, const fs::path& path) {
  std::string bytes;
  char buffer[64 * 1024];
  for (;;) {
    const ssize_t got = ::read(fd, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw file_error("read", path, errno);
    if (got == 0) return bytes;
    bytes.append(buffer, static_cast<std::size_t>(got));
  }
}

void write_all(int fd, std::string_view bytes, const fs::path& path) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(fd, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) throw file_error("write", path, errno);
    bytes.remove_prefix(static_cast<std::size_t>(put));
  }
}

/// The last character of the terminal control sequence (ECMA-48) that starts with the ESC at `at`.
std::size_t skip_sequence(std::string_view text, std::size_t at) {
  if (at + 1 >= text.size()) return at;
  const char kind = text[++at];
  if (kind == '[') {  // parameters, then one character from @ to ~
    do ++at;
    while (at < text.size() && (text[at] < '@' || text[at] > '~'));
  } else if (kind == ']' || kind == 'P' || kind == '_' || kind == '^') {  // a string up to BEL or ESC backslash
    do ++at;
    while (at < text.size() && text[at] != '\a' && text[at] != '\x1b');
    if (at < text.size() && text[at] == '\x1b') ++at;
  } else {
    while (at < text.size() && text[at] >= ' ' && text[at] <= '/') ++at;  // ESC ( B and the like
  }
  return at;
}

/// For std::filesystem's functions that tell an error by a code.
void require(const std::error_code& failure, std::string_view verb, const fs::path& path) {
  if (failure) throw file_error(verb, path, failure.value());
}

/// What the path leads to. Nothing there is no error.
fs::file_status status_of(const fs::path& path) {
  std::error_code failure;
  const fs::file_status status = fs::status(path, failure);
  if (status.type() == fs::file_type::none) require(failure, "look at", path);
  return status;
}

}  // namespace

Error file_error(std::string_view verb, const fs::path& path, int saved_errno) {
  const Error error = io_error("cannot " + std::string(verb) + " " + path.string(), saved_errno);
  if (saved_errno != ENOSPC && saved_errno != EDQUOT) return error;
  const fs::path folder = path.parent_path();
  return error.with_remedy("make room on the file system of " + (folder.empty() ? path : folder).string());
}

bool file_exists(const fs::path& path) { return fs::exists(status_of(path)); }
bool is_plain_file(const fs::path& path) { return fs::is_regular_file(status_of(path)); }
bool is_folder(const fs::path& path) { return fs::is_directory(status_of(path)); }

bool is_link(const fs::path& path) {
  std::error_code failure;
  const fs::file_status status = fs::symlink_status(path, failure);
  if (status.type() == fs::file_type::none) require(failure, "look at", path);
  return fs::is_symlink(status);
}

std::uint64_t file_bytes(const fs::path& path) {
  std::error_code failure;
  const std::uint64_t bytes = fs::file_size(path, failure);
  require(failure, "look at", path);
  return bytes;
}

bool remove_file(const fs::path& path) {
  std::error_code failure;
  const bool removed = fs::remove(path, failure);
  require(failure, "remove", path);
  return removed;
}

void remove_tree(const fs::path& path) {
  std::error_code failure;
  fs::remove_all(path, failure);
  require(failure, "remove", path);
}

void rename_file(const fs::path& from, const fs::path& to) {
  std::error_code failure;
  fs::rename(from, to, failure);
  require(failure, "move " + from.string() + " to", to);
}

std::vector<fs::path> list_folder(const fs::path& folder) {
  std::vector<fs::path> paths;
  std::error_code failure;
  fs::directory_iterator entry(folder, failure);
  if (failure == std::errc::no_such_file_or_directory) return paths;
  for (; !failure && entry != fs::directory_iterator(); entry.increment(failure)) paths.push_back(entry->path());
  require(failure, "list", folder);
  return paths;
}

fs::path real_path(const fs::path& path) {
  std::error_code failure;
  fs::path real = fs::weakly_canonical(path, failure);
  require(failure, "look at", path);
  return real;
}

fs::path absolute_path(const fs::path& path) {
  std::error_code failure;
  fs::path absolute = fs::absolute(path, failure);
  require(failure, "tell the full path of", path);
  return absolute;
}

std::optional<std::string> read_file_if_exists(const fs::path& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) {
    const int saved = errno;
    if (saved == ENOENT || saved == ENOTDIR) return std::nullopt;
    throw file_error("open", path, saved);
  }
  return read_all(fd.get(), path);
}

std::string read_file(const fs::path& path) {
  auto bytes = read_file_if_exists(path);
  if (!bytes) throw Error(Errc::not_found, path.string() + " does not exist");
  return std::move(*bytes);
}

void write_atomically(const fs::path& path, std::string_view bytes, unsigned mode) {
  std::string temporary = path.string() + ".XXXXXX";
  UniqueFd fd(::mkostemp(temporary.data(), O_CLOEXEC));
  if (!fd) throw file_error("create a temporary file beside", path, errno);
  try {
    write_all(fd.get(), bytes, path);
    if (::fchmod(fd.get(), static_cast<mode_t>(mode)) != 0) throw file_error("set the mode of", path, errno);
    if (::fsync(fd.get()) != 0) throw file_error("sync", path, errno);
    if (::rename(temporary.c_str(), path.c_str()) != 0) throw file_error("replace", path, errno);
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  sync_directory(path.parent_path());
}

void sync_directory(const fs::path& directory) {
  // The parent of a bare file name is "".
  UniqueFd fd(::open(directory.empty() ? "." : directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) throw file_error("open", directory, errno);
  if (::fsync(fd.get()) != 0) throw file_error("sync", directory, errno);
}

void make_private_directory(const fs::path& path) {
  // A parent that we may not look at counts as missing; mkdir then says why it cannot be made.
  std::error_code ignored;
  if (path.has_parent_path() && !fs::exists(path.parent_path(), ignored)) make_private_directory(path.parent_path());
  if (::mkdir(path.c_str(), 0700) == 0) return;
  const int saved = errno;
  if (saved != EEXIST) throw file_error("create", path, saved);
  struct stat facts{};
  if (::stat(path.c_str(), &facts) != 0) throw file_error("look at", path, errno);
  if (!S_ISDIR(facts.st_mode)) throw Error(Errc::io, path.string() + " is not a directory", "move it out of the way");
  require_own_directory(path);
  if ((facts.st_mode & 0077) != 0 && ::chmod(path.c_str(), 0700) != 0)
    throw io_error("cannot close " + path.string() + " to other users", errno);
}

std::string last_lines(std::string_view text, std::size_t count) {
  std::string clean;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\x1b') {
      i = skip_sequence(text, i);
      continue;
    }
    if (c == '\n' || c == '\t' || (static_cast<unsigned char>(c) >= 0x20 && c != '\x7f')) clean += c;
  }
  while (!clean.empty() && clean.back() == '\n') clean.pop_back();
  if (count == 0) return {};
  std::size_t begin = clean.size();
  for (std::size_t found = 0; begin > 0; --begin)
    if (clean[begin - 1] == '\n' && ++found == count) break;
  return clean.substr(begin);
}

std::string tail_lines(const fs::path& path, std::size_t count) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return {};
  constexpr off_t window = 64 * 1024;
  const off_t size = ::lseek(fd.get(), 0, SEEK_END);
  if (size < 0 || ::lseek(fd.get(), size > window ? size - window : 0, SEEK_SET) < 0) return {};
  return last_lines(read_all(fd.get(), path), count);
}

std::uint64_t free_space(const fs::path& path) {
  struct statvfs facts{};
  if (::statvfs(path.c_str(), &facts) != 0) throw file_error("ask for the free space of", path, errno);
  return static_cast<std::uint64_t>(facts.f_bavail) * facts.f_frsize;
}

std::uint64_t allocated_bytes(const fs::path& path) {
  struct stat facts{};
  if (::stat(path.c_str(), &facts) != 0) return 0;
  return static_cast<std::uint64_t>(facts.st_blocks) * 512;  // POSIX leaves the unit open; Linux and macOS use 512
}

TemporaryDirectory::TemporaryDirectory(const fs::path& parent, std::string_view prefix) {
  std::string name = (parent / (std::string(prefix) + "XXXXXX")).string();
  if (::mkdtemp(name.data()) == nullptr) throw file_error("create a directory in", parent, errno);
  path_ = name;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;  // a leftover is swept at the next build
  fs::remove_all(path_, ignored);
}

}  // namespace cl
