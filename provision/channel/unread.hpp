#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

namespace cl {

/// Received bytes that nobody has read yet. An empty one costs nothing.
class Unread {
 public:
  std::size_t size() const noexcept { return bytes_.size() - begin_; }
  void append(std::string_view more) {
    if (begin_ > bytes_.size() / 2) {  // so that each byte is moved about once
      bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(begin_));
      begin_ = 0;
    }
    bytes_.insert(bytes_.end(), more.begin(), more.end());
  }
  std::size_t take(std::span<char> space) noexcept {
    const std::size_t count = std::min(space.size(), size());
    if (count > 0) std::memcpy(space.data(), bytes_.data() + begin_, count);
    begin_ += count;
    if (size() == 0) {
      std::vector<char>().swap(bytes_);
      begin_ = 0;
    }
    return count;
  }

 private:
  std::vector<char> bytes_;
  std::size_t begin_ = 0;
};

}  // namespace cl
