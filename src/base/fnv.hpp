#pragma once

#include <cstdint>
#include <string_view>

/// FNV-1a (http://www.isthe.com/chongo/tech/comp/fnv): a number that stands for a text, the same in every build of this
/// program and of the guest's agent. Not for who may choose texts that fall together.
namespace cl {

constexpr std::uint32_t fnv1a_32(std::string_view text) {
  std::uint32_t hash = 2166136261U;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
  return hash;
}

constexpr std::uint64_t fnv1a_64(std::string_view text) {
  std::uint64_t hash = 14695981039346656037U;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211U;
  return hash;
}

}  // namespace cl
