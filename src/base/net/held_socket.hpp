#pragma once

#include <filesystem>

#include "src/base/unique_fd.hpp"

namespace cl {

/// A unix socket's node, and the path to connect to it by, as long as the node is held.
struct HeldSocket {
  UniqueFd node;
  std::filesystem::path path;
};

/// Of the socket at `path`, which must be in `folder`: no link leads out of that, also if somebody who can write there
/// puts one in the way meanwhile (macOS cannot prove that, and is asked a moment before). Throws Error{io}; may block.
HeldSocket hold_socket(const std::filesystem::path& folder, const std::filesystem::path& path);

}  // namespace cl
