#pragma once

#include <sys/types.h>

#include <cstdlib>
#include <cstring>
#include <string_view>

#include "provision/channel/protocol.hpp"

namespace cl::agent {

/// Frames that wait for the host. Sockets are read right into it: bulk is copied by the kernel alone.
class OutBuffer {
 public:
  OutBuffer() = default;
  OutBuffer(const OutBuffer&) = delete;
  OutBuffer& operator=(const OutBuffer&) = delete;
  ~OutBuffer() { std::free(bytes_); }

  std::size_t size() const { return end_ - begin_; }
  const char* data() const { return bytes_ + begin_; }
  void drop(std::size_t count) {
    begin_ += count;
    if (begin_ == end_) clear();
  }
  void clear() {
    begin_ = end_ = 0;
    if (capacity_ <= usual) return;  // what a burst has taken goes back
    std::free(bytes_);
    bytes_ = nullptr;
    capacity_ = 0;
  }

  void put(Kind kind, std::uint32_t stream, std::string_view payload) {
    char* const to = room(payload.size());
    if (!payload.empty()) std::memcpy(to, payload.data(), payload.size());
    finish(kind, stream, payload.size());
  }
  void put_raw(std::string_view bytes) {
    std::memcpy(room(bytes.size()) - header_size, bytes.data(), bytes.size());
    end_ += bytes.size();
  }
  /// Where the payload of the next frame, of `size` bytes at most, is to be.
  char* room(std::size_t size) {
    reserve(size + overhead);
    return bytes_ + end_ + header_size;
  }
  /// It is there.
  void finish(Kind kind, std::uint32_t stream, std::size_t size) {
    put_header(bytes_ + end_, kind, stream, size);
    bytes_[end_ + header_size + size] = last_byte;
    end_ += size + overhead;
  }

 private:
  static constexpr std::size_t usual = 192 * 1024;

  void reserve(std::size_t more) {
    if (capacity_ - end_ >= more) return;
    if (begin_ > 0) std::memmove(bytes_, bytes_ + begin_, size());
    end_ -= begin_;
    begin_ = 0;
    if (capacity_ - end_ >= more) return;
    while (capacity_ - end_ < more) capacity_ = capacity_ == 0 ? usual : capacity_ * 2;
    bytes_ = static_cast<char*>(std::realloc(bytes_, capacity_));
    if (bytes_ == nullptr) std::abort();
  }

  char* bytes_ = nullptr;
  std::size_t begin_ = 0, end_ = 0, capacity_ = 0;
};

}  // namespace cl::agent
