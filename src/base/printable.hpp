#pragma once

#include <string>
#include <string_view>

namespace cl {

/// `text` without what a terminal or a reader could be deceived by, for words that come from the guest (names,
/// versions, errors): control characters (C0 but tab, DEL, C1), bytes that are no UTF-8, and Unicode's marks that
/// reorder or hide text become visible as \xNN, byte by byte. Lines are kept when `lines`; otherwise "\n" is one of
/// these characters, too.
std::string printable(std::string_view text, bool lines = false);

/// Whether all of it is UTF-8 (RFC 3629).
bool is_utf8(std::string_view text) noexcept;

}  // namespace cl
