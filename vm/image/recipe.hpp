#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace cl {

/// The files that build a guest image, whose entry is build.sh. The contract is in vm/guest_image/README.md.
class Recipe {
 public:
  struct File {
    std::string path;  ///< relative, below the recipe's directory
    std::string bytes;
  };

  explicit Recipe(std::vector<File> files);

  /// By path.
  const std::vector<File>& files() const noexcept { return files_; }

  /// One more file for whoever builds. It is not in files(), nor in the digest: an image is not built again because it
  /// has changed.
  void add_beside(File file) { beside_.push_back(std::move(file)); }

  /// 64 hex digits over every path and content: another recipe makes another image.
  const std::string& digest() const noexcept { return digest_; }

  /// Writes all files below `directory`, which exists. Throws Error{io}.
  void unpack(const std::filesystem::path& directory) const;

 private:
  std::vector<File> files_, beside_;
  std::string digest_;
};

/// The recipe in vm/guest_image as it was when this program was built; it is part of the program.
Recipe built_in_recipe();

/// The files of vm/cloud_guest likewise: not built, but put into the guest of a distribution's image (vm/seed.hpp).
Recipe cloud_guest_files();

}  // namespace cl
