#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "profiles/image_ref.hpp"

namespace cl {

/// A distribution's image, as the catalog knows it.
struct CatalogEntry {
  std::string_view name, arch;  ///< "debian-13", "x86_64"
  /// Servers that have the same tree, the distribution's own first.
  std::vector<std::string_view> servers;
  /// One release for ever: its path below a server, and its digest.
  std::string_view pinned_path;
  Digest pinned;
  /// For the time when servers have removed that release: the newest one, and the file with digests beside it, which is
  /// taken over https from the distribution's own server.
  std::string_view newest_path, newest_digests, newest_algorithm;

  /// $COLIMA_LIKE_IMAGE_MIRROR (a tree like the servers') and then the servers.
  std::vector<std::string> urls(std::string_view path) const;
  std::string digests_url() const;
};

/// Nothing for an architecture that the distribution has no image of here.
std::optional<CatalogEntry> find_in_catalog(std::string_view name, std::string_view arch);

/// The digest of `file` in the text of a SHA512SUMS or SHA256SUMS: lines "HEX  FILE" or "HEX *FILE". Nothing when it is
/// not listed. Pure.
std::optional<Digest> find_in_sums(std::string_view sums, std::string_view algorithm, std::string_view file);

}  // namespace cl
