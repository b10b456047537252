#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace cl {

/// What a connection's first bytes, from who connects, say of where it goes.
struct FirstBytes {
  enum class Kind {
    more,   ///< it cannot be said yet
    tls,    ///< TLS; the name is the server name of its ClientHello (RFC 8446, 4.1.2; RFC 6066, 3), or empty
    http,   ///< a request (RFC 9112); the name is its host, or empty where servers could read it in two ways
    other,  ///< of another protocol, which does not say it
  };
  Kind kind = Kind::more;
  std::string name;        ///< in lower case
  std::uint16_t port = 0;  ///< of a request to a proxy, which says it itself
};

/// No more than this has to be there: what is longer without an end is `other`, but for what began as TLS or as HTTP,
/// which then has no name.
inline constexpr std::size_t most_first_bytes = 32 * 1024;

/// `is_all`: no more will come, so there is no `more`.
FirstBytes look_at_first_bytes(std::string_view bytes, bool is_all = false);

}  // namespace cl
