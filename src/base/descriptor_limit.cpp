#include "src/base/descriptor_limit.hpp"

#include <limits.h>
#include <sys/resource.h>

#include <algorithm>

namespace cl {
namespace {

rlim_t original = 0;  // the soft limit before it was raised; 0: it was not

}  // namespace

std::uint64_t raise_descriptor_limit() noexcept {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  rlimit wanted = limit;
  wanted.rlim_cur = limit.rlim_max;
#ifdef __APPLE__
  wanted.rlim_cur = std::min<rlim_t>(OPEN_MAX, limit.rlim_max);  // setrlimit(2): more is refused
#endif
  if (wanted.rlim_cur > limit.rlim_cur && ::setrlimit(RLIMIT_NOFILE, &wanted) == 0) {
    original = limit.rlim_cur;
    limit = wanted;
  }
  return limit.rlim_cur;
}

std::uint64_t descriptor_limit() noexcept {
  rlimit limit{};
  return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 0;
}

void restore_descriptor_limit() noexcept {
  rlimit limit{};
  if (original == 0 || ::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = std::min(original, limit.rlim_max);
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace cl
