#include "vm/image/recipe.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "src/base/file.hpp"
#include "src/base/unique_fd.hpp"
#include "vm/hash.hpp"

namespace cl {
namespace fs = std::filesystem;

Recipe::Recipe(std::vector<File> files) : files_(std::move(files)) {
  std::sort(files_.begin(), files_.end(), [](const File& a, const File& b) { return a.path < b.path; });
  Sha256 hash;
  for (const File& file : files_) hash.update(file.path + '\n' + sha256_hex(file.bytes) + '\n');
  digest_ = hash.hex();
}

void Recipe::unpack(const fs::path& directory) const {
  std::vector<const File*> all;
  for (const auto* some : {&files_, &beside_})
    for (const File& file : *some) all.push_back(&file);
  for (const File* one : all) {
    const File& file = *one;
    const fs::path path = directory / file.path;
    std::error_code ec;
    fs::create_directories(path.parent_path(), ec);
    if (ec) throw file_error("create", path.parent_path(), ec.value());
    UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!fd) throw file_error("create", path, errno);
    const ssize_t put = ::write(fd.get(), file.bytes.data(), file.bytes.size());
    if (put < 0) throw file_error("write", path, errno);
    if (static_cast<std::size_t>(put) != file.bytes.size()) throw file_error("write", path, ENOSPC);
  }
}

}  // namespace cl
