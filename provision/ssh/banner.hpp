#pragma once

#include <cstddef>
#include <string_view>

namespace cl::ssh {

/// Finds the server's version line ("SSH-2.0-...", RFC 4253 section 4.2) behind whatever else comes first:
/// lines of the server's own, or the rest of what an earlier connection's server still had to say.
/// Told what is unread so far, again and again; keeps no bytes itself.
class BannerFinder {
 public:
  struct Seen {
    std::size_t drop = 0;  ///< so many bytes at the front are not the banner: throw them away
    bool found = false;    ///< the complete version line is at the front after that
  };
  Seen look(std::string_view unread);

  /// What look() has dropped in all: far more than a greeting can be means that this is no SSH server.
  std::size_t dropped() const noexcept { return dropped_; }

 private:
  Seen result(std::size_t drop, bool found);
  bool mid_line_ = false;  // the front is the rest of a line whose beginning was dropped
  std::size_t dropped_ = 0;
};

}  // namespace cl::ssh
