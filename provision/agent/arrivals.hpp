#pragma once

#include <cstdint>
#include <unordered_map>

#include "src/base/unique_fd.hpp"

namespace cl::agent {

/// Connections that a listening socket has accepted and the host was told of by number, until it takes them: by a
/// stream of its own, or by a word that they are not wanted.
class Arrivals {
 public:
  /// Of one listener at a time; further ones wait in the system's queue.
  static constexpr std::size_t most = 128;

  /// Numbers are not used again before four billion others were.
  std::uint32_t add(UniqueFd connection) {
    const std::uint32_t number = next_++;
    waiting_.insert_or_assign(number, std::move(connection));
    return number;
  }
  /// Nothing when there is none of that number, or not any more.
  UniqueFd take(std::uint32_t number) {
    const auto found = waiting_.find(number);
    if (found == waiting_.end()) return {};
    UniqueFd connection = std::move(found->second);
    waiting_.erase(found);
    return connection;
  }
  bool has(std::uint32_t number) const { return waiting_.contains(number); }

 private:
  std::unordered_map<std::uint32_t, UniqueFd> waiting_;
  std::uint32_t next_ = 1;
};

}  // namespace cl::agent
