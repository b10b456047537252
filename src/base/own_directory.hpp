#pragma once

#include <filesystem>

namespace cl {

/// Throws Error{io} when a directory of ours could be another user's word: it, a link in its place, or a directory
/// above it belongs to somebody who is neither we nor root. Whoever owns one of those can put anything there. Nothing
/// is thrown where there is none.
void require_own_directory(const std::filesystem::path& path);

}  // namespace cl
