#pragma once

#include <cstddef>
#include <string>

namespace cl::agent {

/// Of the sources and the compiler that this program was made of; the host compares it with its own.
extern char build_name[];

/// Ends the program with `what` and errno on stderr. For what cannot fail in a system that works.
[[noreturn]] void die(const char* what);
/// "" for 0.
std::string error_text(int error);
/// All of a small file, as those of /proc are; "" when it cannot be read.
std::string read_file(const char* path, std::size_t limit = 4 << 20);

}  // namespace cl::agent
