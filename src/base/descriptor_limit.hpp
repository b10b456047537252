#pragma once

#include <cstdint>

namespace cl {

/// Raises this process's limit of open files as far as the system lets it (each connection takes one here and
/// may take one more on the way to the guest) and returns what holds now. The usual soft limit is 1024, on macOS 256.
std::uint64_t raise_descriptor_limit() noexcept;

/// What holds now.
std::uint64_t descriptor_limit() noexcept;

/// In a forked child before exec: takes that back. Programs that close "all" descriptors take minutes where the hard
/// limit is a billion. Async-signal-safe.
void restore_descriptor_limit() noexcept;

}  // namespace cl
