#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

namespace cl {

/// What a file's bytes must be.
struct Digest {
  std::string algorithm;  ///< "sha512" or "sha256"
  std::string hex;        ///< 128 or 64 digits, lower case
  /// "sha512:0123..."
  std::string str() const { return algorithm + ":" + hex; }
  bool operator==(const Digest&) const = default;
};

/// Reads "sha512:HEX" or "sha256:HEX"; upper case is taken too. Nothing for anything else.
std::optional<Digest> parse_digest(std::string_view text);

/// A file by URL or path, with what its bytes must be: https://HOST/FILE#sha512:HEX. Without a digest nobody could tell
/// what was downloaded.
struct FileRef {
  std::string name;      ///< the file's own
  std::string location;  ///< URL, or a path from / or ~ on
  Digest digest;
};

/// Whether it looks like one: a URL, or a path from / or ~ on.
bool is_location(std::string_view text);
/// Nothing for what cannot be read; `wrong` then says why ("must ..."), and names the key that it was given for.
std::optional<FileRef> parse_file_ref(std::string_view text, std::string_view key, std::string& wrong);

/// The setting `image`, taken apart.
struct ImageRef {
  enum class Kind {
    automatic,  ///< ours where it can be built, else a downloaded one
    built,      ///< "docker" or "plain": by our recipe
    catalog,    ///< a distribution's own, by the name that we know it by
    location    ///< anybody's, by URL or path
  };
  Kind kind = Kind::automatic;
  std::string name;      ///< "docker", "debian-13"; of a location the file's name
  std::string location;  ///< URL, or a path from / or ~ on
  Digest digest;         ///< of a location
};

/// Names of images that are downloaded without further ado; where from is in vm/image/catalog.cpp.
inline constexpr std::array<std::string_view, 2> catalog_names{"debian-13", "ubuntu-24.04"};

/// Nothing for what cannot be read; `wrong` then says why ("must be ...").
std::optional<ImageRef> parse_image_ref(std::string_view text, std::string& wrong);

}  // namespace cl
