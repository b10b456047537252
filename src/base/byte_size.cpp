#include "src/base/byte_size.hpp"

#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdio>

namespace cl {
namespace {

struct Unit {
  std::string_view letter;
  int shift;
};
constexpr std::array units{Unit{"K", 10}, Unit{"M", 20}, Unit{"G", 30}, Unit{"T", 40}};

}  // namespace

std::optional<ByteSize> ByteSize::parse(std::string_view text) {
  // Digits and at most one point by hand: strtod would also take "0x1p4", "inf" and a locale's comma.
  std::size_t end = 0;
  while (end < text.size() && (std::isdigit(static_cast<unsigned char>(text[end])) != 0 || text[end] == '.')) ++end;
  double number = 0;
  const auto [stop, failure] = std::from_chars(text.data(), text.data() + end, number, std::chars_format::fixed);
  if (end == 0 || failure != std::errc{} || stop != text.data() + end) return std::nullopt;

  std::string unit;
  for (const char c : text.substr(end)) {
    if (c == ' ' && unit.empty()) continue;
    unit += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  int shift = unit.empty() ? 30 : -1;
  if (unit == "B") shift = 0;
  for (const Unit& u : units)
    if (unit == u.letter || unit == std::string(u.letter) + "B" || unit == std::string(u.letter) + "IB")
      shift = u.shift;
  if (shift < 0) return std::nullopt;

  const double bytes = std::ldexp(number, shift);
  if (bytes > 9.2e18) return std::nullopt;
  return ByteSize(static_cast<std::uint64_t>(std::llround(bytes)));
}

std::string ByteSize::str() const {
  for (auto unit = units.rbegin(); unit != units.rend(); ++unit) {
    const std::uint64_t one = std::uint64_t{1} << unit->shift;
    if (count_ < one) continue;
    if (count_ % one == 0) return std::to_string(count_ >> unit->shift) + std::string(unit->letter) + "iB";
    char text[32];
    std::snprintf(text, sizeof text, "%.1f", static_cast<double>(count_) / static_cast<double>(one));
    return std::string(text) + std::string(unit->letter) + "iB";
  }
  return std::to_string(count_) + "B";
}

}  // namespace cl
