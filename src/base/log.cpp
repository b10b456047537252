#include "src/base/log.hpp"

#include <spdlog/sinks/rotating_file_sink.h>
#include <spdlog/spdlog.h>

#include <memory>

#include "src/base/printable.hpp"

namespace cl::log {
namespace {

std::shared_ptr<spdlog::logger> logger;  // one thread writes it, once, at start-up

spdlog::level::level_enum to_spdlog(Level level) {
  switch (level) {
    case Level::debug: return spdlog::level::debug;
    case Level::info: return spdlog::level::info;
    case Level::warn: return spdlog::level::warn;
    case Level::error: return spdlog::level::err;
  }
  return spdlog::level::info;
}

}  // namespace

void open(const std::filesystem::path& file, Level least) {
  constexpr std::size_t max_bytes = 4 << 20;
  auto sink = std::make_shared<spdlog::sinks::rotating_file_sink_st>(file.string(), max_bytes, 1);
  std::error_code stays_readable;
  std::filesystem::permissions(file, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write,
                               stays_readable);
  logger = std::make_shared<spdlog::logger>("daemon", std::move(sink));
  logger->set_pattern("%Y-%m-%d %H:%M:%S.%e %P %l %v");
  logger->set_level(to_spdlog(least));
  logger->flush_on(spdlog::level::debug);  // few lines, and the last one before a crash is the one that counts
}

/// A line of the guest's words cannot be taken for one of ours: those that follow its first are indented.
void write(Level level, const std::string& text) {
  if (!logger) return;
  std::string line = printable(text, true);
  for (auto at = line.find('\n'); at != std::string::npos; at = line.find('\n', at + 1)) line.insert(at + 1, "    ");
  logger->log(to_spdlog(level), line);
}

}  // namespace cl::log
