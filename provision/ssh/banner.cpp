#include "provision/ssh/banner.hpp"

namespace cl::ssh {
namespace {

// RFC 4253 section 4.2: at most 255 characters with CR and LF.
constexpr std::size_t longest_banner = 255;

bool is_version(std::string_view line) { return line.starts_with("SSH-2.0-") || line.starts_with("SSH-1.99-"); }

}  // namespace

BannerFinder::Seen BannerFinder::look(std::string_view unread) {
  std::size_t at = 0;
  for (;;) {
    const std::string_view rest = unread.substr(at);
    const std::size_t newline = rest.find('\n');
    if (newline == std::string_view::npos) {
      if (mid_line_ || rest.size() >= longest_banner) {
        mid_line_ = true;
        return result(unread.size(), false);
      }
      return result(at, false);
    }
    if (!mid_line_ && newline < longest_banner && is_version(rest)) return result(at, true);
    mid_line_ = false;
    at += newline + 1;
  }
}

BannerFinder::Seen BannerFinder::result(std::size_t drop, bool found) {
  dropped_ += drop;
  return Seen{drop, found};
}

}  // namespace cl::ssh
