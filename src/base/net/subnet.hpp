#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace cl {

/// A network of IPv4: "10.0.2.0/24". The bits behind the prefix are 0.
struct Subnet {
  std::uint32_t address = 0;
  int prefix = 0;

  /// Nothing when the text is none, or has bits behind its prefix.
  static std::optional<Subnet> parse(std::string_view text);
  std::string str() const;
  /// The address with this number in it: "10.0.2.2".
  std::string at(std::uint32_t number) const;
  bool overlaps(const Subnet& other) const noexcept;
  bool operator==(const Subnet&) const = default;
};

}  // namespace cl
