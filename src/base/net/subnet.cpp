#include "src/base/net/subnet.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace cl {
namespace {

constexpr int bits = 32;

std::uint32_t mask_of(int prefix) noexcept { return prefix == 0 ? 0 : ~std::uint32_t{0} << (bits - prefix); }

std::string text_of(std::uint32_t address) {
  return fmt::format("{}.{}.{}.{}", address >> 24, address >> 16 & 255, address >> 8 & 255, address & 255);
}

}  // namespace

std::optional<Subnet> Subnet::parse(std::string_view text) {
  const auto slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  in_addr address{};
  if (::inet_pton(AF_INET, std::string(text.substr(0, slash)).c_str(), &address) != 1) return std::nullopt;
  Subnet subnet{ntohl(address.s_addr), 0};
  const std::string_view number = text.substr(slash + 1);
  const auto [stop, failure] = std::from_chars(number.data(), number.data() + number.size(), subnet.prefix);
  const bool whole = failure == std::errc{} && stop == number.data() + number.size();
  if (!whole || subnet.prefix < 0 || subnet.prefix > bits) return std::nullopt;
  if ((subnet.address & ~mask_of(subnet.prefix)) != 0) return std::nullopt;
  return subnet;
}

std::string Subnet::str() const { return fmt::format("{}/{}", text_of(address), prefix); }

std::string Subnet::at(std::uint32_t number) const { return text_of(address + number); }

bool Subnet::overlaps(const Subnet& other) const noexcept {
  const std::uint32_t mask = mask_of(std::min(prefix, other.prefix));
  return (address & mask) == (other.address & mask);
}

}  // namespace cl
