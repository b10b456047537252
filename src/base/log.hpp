#pragma once

#include <fmt/format.h>

#include <filesystem>
#include <string>
#include <utility>

/// The daemon's log file. Progress and results for the user do not come here (see src/cli/output.hpp).
namespace cl::log {

enum class Level { debug, info, warn, error };

/// Writes to `file` (0600), rotated at 4 MiB with one old copy kept. Synchronous: an asynchronous
/// logger's thread would hang a forked child whose exec failed. Until then, nothing is logged.
void open(const std::filesystem::path& file, Level least);

/// One line at `level`.
void write(Level level, const std::string& line);

template <class... Args>
void debug(fmt::format_string<Args...> text, Args&&... args) {
  write(Level::debug, fmt::format(text, std::forward<Args>(args)...));
}
template <class... Args>
void info(fmt::format_string<Args...> text, Args&&... args) {
  write(Level::info, fmt::format(text, std::forward<Args>(args)...));
}
template <class... Args>
void warn(fmt::format_string<Args...> text, Args&&... args) {
  write(Level::warn, fmt::format(text, std::forward<Args>(args)...));
}
template <class... Args>
void error(fmt::format_string<Args...> text, Args&&... args) {
  write(Level::error, fmt::format(text, std::forward<Args>(args)...));
}

}  // namespace cl::log
