#include "src/base/file_owner.hpp"

#include "src/base/text.hpp"

namespace cl {

std::optional<FileOwner> parse_file_owner(std::string_view text) {
  const auto dot = text.find('.');
  const auto user = whole_number<std::uint32_t>(text.substr(0, dot));
  const auto group = dot == std::string_view::npos ? user : whole_number<std::uint32_t>(text.substr(dot + 1));
  constexpr std::uint32_t none = 4294967295;  // chown(2): leaves it as it is
  if (!user || !group || *user == none || *group == none) return std::nullopt;
  return FileOwner{*user, *group};
}

std::string to_string(const FileOwner& owner) { return std::to_string(owner.user) + "." + std::to_string(owner.group); }

}  // namespace cl
