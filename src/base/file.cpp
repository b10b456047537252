#include "src/base/file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "src/base/error.hpp"
#include "src/base/unique_fd.hpp"

namespace cl {
namespace {

std::string read_all(int fd, const fs::path& path) {
  std::string bytes;
  char buffer[64 * 1024];
  for (;;) {
    const ssize_t got = ::read(fd, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw io_error("cannot read " + path.string(), errno);
    if (got == 0) return bytes;
    bytes.append(buffer, static_cast<std::size_t>(got));
  }
}

void write_all(int fd, std::string_view bytes, const fs::path& path) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(fd, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) throw io_error("cannot write " + path.string(), errno);
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

}  // namespace

std::optional<std::string> read_file_if_exists(const fs::path& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) {
    const int saved = errno;
    if (saved == ENOENT || saved == ENOTDIR) return std::nullopt;
    throw io_error("cannot open " + path.string(), saved);
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
  if (!fd) throw io_error("cannot create a temporary file beside " + path.string(), errno);
  try {
    write_all(fd.get(), bytes, path);
    if (::fchmod(fd.get(), static_cast<mode_t>(mode)) != 0)
      throw io_error("cannot set the mode of " + path.string(), errno);
    if (::fsync(fd.get()) != 0) throw io_error("cannot sync " + path.string(), errno);
    if (::rename(temporary.c_str(), path.c_str()) != 0) throw io_error("cannot replace " + path.string(), errno);
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  sync_directory(path.parent_path());
}

void sync_directory(const fs::path& directory) {
  // The parent of a bare file name is "".
  UniqueFd fd(::open(directory.empty() ? "." : directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) throw io_error("cannot open " + directory.string(), errno);
  if (::fsync(fd.get()) != 0) throw io_error("cannot sync " + directory.string(), errno);
}

void make_private_directory(const fs::path& path) {
  // A parent that we may not look at counts as missing; mkdir then says why it cannot be made.
  std::error_code ignored;
  if (path.has_parent_path() && !fs::exists(path.parent_path(), ignored)) make_private_directory(path.parent_path());
  if (::mkdir(path.c_str(), 0700) == 0) return;
  const int saved = errno;
  if (saved != EEXIST) throw io_error("cannot create " + path.string(), saved);
  struct stat facts{};
  if (::stat(path.c_str(), &facts) != 0) throw io_error("cannot look at " + path.string(), errno);
  if (!S_ISDIR(facts.st_mode)) throw Error(Errc::io, path.string() + " is not a directory", "move it out of the way");
  if (facts.st_uid != ::geteuid())
    throw Error(Errc::io, path.string() + " belongs to another user",
                "remove it, or set COLIMA_LIKE_HOME to a directory of yours");
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
  if (::statvfs(path.c_str(), &facts) != 0) throw io_error("cannot ask for the free space of " + path.string(), errno);
  return static_cast<std::uint64_t>(facts.f_bavail) * facts.f_frsize;
}

std::uint64_t allocated_bytes(const fs::path& path) {
  struct stat facts{};
  if (::stat(path.c_str(), &facts) != 0) return 0;
  return static_cast<std::uint64_t>(facts.st_blocks) * 512;  // POSIX leaves the unit open; Linux and macOS use 512
}

TemporaryDirectory::TemporaryDirectory(const fs::path& parent, std::string_view prefix) {
  std::string name = (parent / (std::string(prefix) + "XXXXXX")).string();
  if (::mkdtemp(name.data()) == nullptr) throw io_error("cannot create a directory in " + parent.string(), errno);
  path_ = name;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;  // a leftover is swept at the next build
  fs::remove_all(path_, ignored);
}

}  // namespace cl
