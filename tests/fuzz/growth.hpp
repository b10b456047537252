#pragma once

#include <cstddef>
#include <cstdio>
#include <cstdlib>

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define COLIMA_LIKE_COUNTS_MEMORY
#include <sanitizer/allocator_interface.h>
#endif
#endif

/// What a reader keeps of other people's bytes as an oracle: libFuzzer's own limits see only what is lost or huge.
namespace cl::fuzz {

/// Ends the program when more than `most` bytes are held besides what was held at first. Without AddressSanitizer,
/// which counts them, it does nothing.
class Growth {
 public:
  explicit Growth(std::size_t most) : most_(most) {}
  void check() const {
    if (held() <= before_ + most_) return;
    std::fprintf(stderr, "%zu bytes are held of what was read, and %zu may be\n", held() - before_, most_);
    std::abort();
  }

 private:
  static std::size_t held() {
#ifdef COLIMA_LIKE_COUNTS_MEMORY
    return __sanitizer_get_current_allocated_bytes();
#else
    return 0;
#endif
  }
  std::size_t before_ = held();
  std::size_t most_;
};

}  // namespace cl::fuzz
