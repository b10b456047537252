#pragma once

#include <cstdint>
#include <filesystem>

namespace cl {

/// For a file that another program appends to and never closes: once it takes more than `most` bytes of the disk, its
/// last half of that is kept in FILE.1, and it begins anew. What is appended in between may be lost. False when it is
/// short, or not there. Throws Error{io}.
bool cut_appended_file(const std::filesystem::path& file, std::uint64_t most);

/// FILE.1.
std::filesystem::path older_part(const std::filesystem::path& file);

}  // namespace cl
