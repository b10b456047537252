#include "src/base/printable.hpp"

#include <cstddef>
#include <cstdint>

namespace cl {
namespace {

/// The length of the character of UTF-8 (RFC 3629) at the front of `text`, and its number; 0 when it is none.
std::size_t character(std::string_view text, std::uint32_t& number) {
  const auto first = static_cast<unsigned char>(text.front());
  const std::size_t length = first < 0x80   ? 1
                             : first < 0xc2 ? 0
                             : first < 0xe0 ? 2
                             : first < 0xf0 ? 3
                             : first < 0xf5 ? 4
                                            : 0;
  if (length == 0 || length > text.size()) return 0;
  number = length == 1 ? first : first & (0xffU >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    const auto next = static_cast<unsigned char>(text[i]);
    if ((next & 0xc0) != 0x80) return 0;
    number = number << 6 | (next & 0x3f);
  }
  constexpr std::uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = number >= 0xd800 && number < 0xe000;
  return number < least[length] || surrogate || number > 0x10ffff ? 0 : length;
}

/// Unicode's controls of the direction of text, and characters that take no place.
bool deceives(std::uint32_t number) {
  return number == 0x061c || (number >= 0x200b && number <= 0x200f) || (number >= 0x202a && number <= 0x202e) ||
         (number >= 0x2028 && number <= 0x2029) || (number >= 0x2060 && number <= 0x2069) || number == 0xfeff;
}

}  // namespace

bool is_utf8(std::string_view text) noexcept {
  for (std::uint32_t number = 0; !text.empty();) {
    const std::size_t length = character(text, number);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

std::string printable(std::string_view text, bool lines) {
  constexpr char digits[] = "0123456789abcdef";
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    std::uint32_t number = 0;
    const std::size_t length = character(text, number);
    const bool control =
        (number < 0x20 && number != '\t' && !(lines && number == '\n')) || (number >= 0x7f && number < 0xa0);
    const std::size_t taken = length == 0 ? 1 : length;
    if (length == 0 || control || deceives(number)) {
      for (const char byte : text.substr(0, taken)) {
        const auto value = static_cast<unsigned char>(byte);
        out += {'\\', 'x', digits[value >> 4], digits[value & 15]};
      }
    } else {
      out += text.substr(0, taken);
    }
    text.remove_prefix(taken);
  }
  return out;
}

}  // namespace cl
