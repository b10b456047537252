#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// What of the shared folders a machine does not get: the key `share_hide`.
namespace cl {

/// One item of the key: "default", or PATH[:ro|:rw].
struct HideItem {
  enum class Way { hidden, read_only, shown };
  bool defaults = false;  ///< the product's own list
  std::string path;       ///< may begin with ~
  Way way = Way::hidden;
};

/// Says what is wrong with the text, or nothing. Pure.
std::optional<std::string> parse_hide(std::string_view text, HideItem& into);

/// Of this computer's paths, absolute and as they are written: none of them has to exist.
struct HiddenPaths {
  std::vector<std::filesystem::path> hidden;  ///< not to be read
  std::vector<std::filesystem::path> kept;    ///< to be read and not to be written
};

/// What the items mean; of two for one path the later one counts. `own` are the folders of this program, which are
/// hidden by default. Throws Error{invalid_config}. Pure.
HiddenPaths hidden_paths(const std::vector<std::string>& items, const std::filesystem::path& home,
                         const std::vector<std::filesystem::path>& own);

/// The paths, and where links lead from them, that lie in `folder` (which has no links itself): without links, sorted.
std::vector<std::filesystem::path> within(const std::vector<std::filesystem::path>& paths,
                                          const std::filesystem::path& folder);

}  // namespace cl
