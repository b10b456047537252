#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace cl {

/// A number of bytes that knows how people write it.
class ByteSize {
 public:
  constexpr ByteSize() = default;
  static constexpr ByteSize bytes(std::uint64_t n) { return ByteSize(n); }
  static constexpr ByteSize mib(std::uint64_t n) { return ByteSize(n << 20); }
  static constexpr ByteSize gib(std::uint64_t n) { return ByteSize(n << 30); }

  /// "512MiB", "4GiB", "4G", "1.5 GiB", "4" (GiB, as Colima reads it), "1048576B". KiB = 1024 bytes, and
  /// K, KB and KiB mean the same. Nothing when it is no size, negative or over 2^63.
  static std::optional<ByteSize> parse(std::string_view text);

  constexpr std::uint64_t count() const { return count_; }
  constexpr std::uint64_t whole_mib() const { return count_ >> 20; }
  /// The shortest exact or one-decimal form: "2GiB", "1.5GiB", "300MiB", "12B".
  std::string str() const;
  auto operator<=>(const ByteSize&) const = default;

 private:
  constexpr explicit ByteSize(std::uint64_t n) : count_(n) {}
  std::uint64_t count_ = 0;
};

}  // namespace cl
