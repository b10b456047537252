#pragma once

#include <string>
#include <string_view>

namespace cl {

/// `text` as one word of a POSIX shell's line, which reads it back unchanged.
std::string shell_quoted(std::string_view text);

}  // namespace cl
