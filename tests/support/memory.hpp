#pragma once

#include <cstddef>

#ifdef __APPLE__
#include <malloc/malloc.h>
#else
#include <malloc.h>
#endif

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define CL_TEST_ASAN 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define CL_TEST_ASAN 1
#endif
#ifdef CL_TEST_ASAN
#include <sanitizer/allocator_interface.h>
#endif

namespace cl::test {

/// Bytes of this process's heap that are in use now.
inline std::size_t heap_bytes() {
#if defined(CL_TEST_ASAN)
  return __sanitizer_get_current_allocated_bytes();
#elif defined(__APPLE__)
  return mstats().bytes_used;
#else
  const struct mallinfo2 now = ::mallinfo2();
  return now.uordblks + now.hblkhd;
#endif
}

}  // namespace cl::test
