#include "src/base/cut_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "src/base/error.hpp"
#include "src/base/file.hpp"
#include "src/base/unique_fd.hpp"

namespace cl {

std::filesystem::path older_part(const std::filesystem::path& file) { return file.string() + ".1"; }

bool cut_appended_file(const std::filesystem::path& file, std::uint64_t most) {
  const UniqueFd fd(::open(file.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!fd && errno == ENOENT) return false;
  if (!fd) throw io_error("cannot open " + file.string(), errno);
  struct stat facts{};
  if (::fstat(fd.get(), &facts) != 0) throw io_error("cannot look at " + file.string(), errno);
  // A writer that does not append leaves a hole in front when the file was cut before.
  constexpr std::uint64_t block = 512;
  if (static_cast<std::uint64_t>(facts.st_blocks) * block <= most) return false;
  std::string kept(std::min<std::uint64_t>(most / 2, static_cast<std::uint64_t>(facts.st_size)), '\0');
  const ssize_t got = ::pread(fd.get(), kept.data(), kept.size(), facts.st_size - static_cast<off_t>(kept.size()));
  if (got < 0) throw io_error("cannot read " + file.string(), errno);
  kept.resize(static_cast<std::size_t>(got));
  // First the room: this may be for want of it.
  if (::ftruncate(fd.get(), 0) != 0) throw io_error("cannot cut " + file.string(), errno);
  write_atomically(older_part(file), kept);
  return true;
}

}  // namespace cl
