#pragma once

#include <charconv>
#include <optional>
#include <string>
#include <string_view>

/// What many need to do with text.
namespace cl {

/// With the alphabet of RFC 4648 and with padding.
std::string base64(std::string_view bytes);

/// The number that is all of `text`, without a sign unless T has one; nothing for anything else, and for what T cannot
/// hold.
template <class T>
std::optional<T> whole_number(std::string_view text, int base = 10) {
  T value{};
  const char* end = text.data() + text.size();
  const auto [stop, failure] = std::from_chars(text.data(), end, value, base);
  if (failure != std::errc{} || stop != end) return std::nullopt;
  return value;
}

}  // namespace cl
