#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "profiles/image_ref.hpp"
#include "profiles/paths.hpp"
#include "vm/image/image.hpp"

/// nerdctl, BuildKit and CNI's plugins for the runtime containerd, as nerdctl's releases have them together: an archive
/// on this host, which goes into the guest (provision/tools.hpp).
namespace cl {

/// One archive.
struct ToolsRelease {
  std::string title;                   ///< "nerdctl-full 2.3.5", or the file's own name
  std::vector<std::string> locations;  ///< URLs of the file, in the order of trying; or its path on this host
  Digest digest;
  bool pinned_by_us = false;  ///< nobody asked for this very one: a machine runs without it where it cannot be had
};

/// What the setting `containerd.tools` means for a machine's architecture; nothing for "none".
/// $COLIMA_LIKE_NERDCTL_MIRROR is asked first: a tree such as https://github.com/containerd/nerdctl/releases/download.
std::optional<ToolsRelease> tools_release(const std::string& setting, const std::string& arch);

/// The archive's path on this host, its digest checked a moment ago. A URL's file is downloaded unless it is cached;
/// of two at the same time one works and the other waits. Errors of vm/image/download.hpp; Error{not_found} for a path
/// that has another file or none.
asio::awaitable<std::filesystem::path> provide_tools(std::filesystem::path cache, ToolsRelease release, OnPhase say);

/// Removes cached archives whose digest (hex) is not in `keep`, and interrupted downloads of them. Returns the bytes
/// freed.
std::uint64_t prune_tools(const std::filesystem::path& cache, const std::set<std::string>& keep);

}  // namespace cl
