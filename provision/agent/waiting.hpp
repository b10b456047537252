#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <memory>
#include <string_view>
#include <vector>

namespace cl::agent {

/// Bytes that a socket does not take yet, in blocks that are used again: a reader that is slower than the host would
/// otherwise have the system map, clear and unmap memory for each piece.
class Waiting {
 public:
  bool empty() const { return size_ == 0; }
  std::size_t size() const { return size_; }
  /// The first of them.
  std::string_view front() const {
    const std::size_t end = blocks_.size() == 1 ? begin_ + size_ : block_size;
    return {blocks_.front()->data() + begin_, end - begin_};
  }
  void append(std::string_view bytes) {
    while (!bytes.empty()) {
      const std::size_t end = (begin_ + size_) % block_size;
      if (end == 0 || blocks_.empty()) blocks_.push_back(take_block());
      const std::size_t count = std::min(bytes.size(), block_size - end);
      std::memcpy(blocks_.back()->data() + end, bytes.data(), count);
      size_ += count;
      bytes.remove_prefix(count);
    }
  }
  /// Of front(), `count` bytes.
  void drop(std::size_t count) {
    begin_ += count;
    size_ -= count;
    if (size_ > 0 && begin_ < block_size) return;
    give_block(std::move(blocks_.front()));
    blocks_.pop_front();
    begin_ = 0;
  }
  void clear() {
    while (!empty()) drop(front().size());
  }

 private:
  static constexpr std::size_t block_size = 64 * 1024;
  static constexpr std::size_t spare_blocks = 8;
  using Block = std::unique_ptr<std::array<char, block_size>>;

  static std::vector<Block>& spare() {
    static std::vector<Block> blocks;
    return blocks;
  }
  static Block take_block() {
    if (spare().empty()) return Block(new std::array<char, block_size>);
    Block block = std::move(spare().back());
    spare().pop_back();
    return block;
  }
  static void give_block(Block block) {
    if (spare().size() < spare_blocks) spare().push_back(std::move(block));
  }

  std::deque<Block> blocks_;
  std::size_t begin_ = 0, size_ = 0;
};

}  // namespace cl::agent
