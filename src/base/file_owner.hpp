#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace cl {

/// Whose a file is, in numbers.
struct FileOwner {
  std::uint32_t user = 0, group = 0;
  bool operator==(const FileOwner&) const = default;
};

/// Of "1000.100", or "1000" where both numbers are that.
std::optional<FileOwner> parse_file_owner(std::string_view text);
std::string to_string(const FileOwner& owner);

}  // namespace cl
