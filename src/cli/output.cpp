#include "src/cli/output.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <iostream>

#include "src/base/json.hpp"
#include "src/base/printable.hpp"

namespace cl::cli {
namespace {

bool on_terminal() {
  const char* term = std::getenv("TERM");
  return ::isatty(STDERR_FILENO) == 1 && (term == nullptr || std::string_view(term) != "dumb");
}

bool colours() { return on_terminal() && std::getenv("NO_COLOR") == nullptr; }

std::size_t terminal_columns() {
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

/// Without a terminal a phase that takes longer than this is told of while it lasts.
constexpr std::chrono::seconds long_phase(10);

/// What is done, without how much of it: numbers count up, and are no news.
std::string without_numbers(std::string text) {
  std::erase_if(text, [](unsigned char c) { return std::isdigit(c) != 0 || c == '.' || c == '%'; });
  return text;
}

/// Later lines of a text are indented under its first.
std::string indented(const std::string& text) {
  std::string out;
  for (const char c : printable(text, true)) {
    out += c;
    if (c == '\n') out += "    ";
  }
  return out;
}

/// The first `columns` characters; UTF-8 sequences stay whole.
std::string shortened(const std::string& text, std::size_t columns) {
  std::string out;
  std::size_t used = 0;
  for (const char c : text) {
    const bool starts_character = (static_cast<unsigned char>(c) & 0xC0U) != 0x80U;
    if (starts_character && ++used > columns) break;
    out += c;
  }
  return out;
}

}  // namespace

void print_error(const Error& error) {
  const char* red = colours() ? "\033[31m" : "";
  const char* plain = colours() ? "\033[0m" : "";
  std::cerr << red << "error:" << plain << ' ' << indented(error.what()) << '\n';
  if (!error.cause().empty()) std::cerr << "  because " << indented(error.cause()) << '\n';
  if (!error.remedy().empty()) std::cerr << "  try: " << indented(error.remedy()) << '\n';
}

void print_note(const std::string& text) { std::cerr << printable(text, true) << '\n'; }

void print_line(const std::string& text) { std::cout << printable(text) << '\n'; }

void print_json(const boost::json::value& value) { std::cout << pretty_json(value, "  ") << '\n'; }

void print_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) line += fmt::format("{:<{}}", row[i], widths[i] + 2);
    line.erase(line.find_last_not_of(' ') + 1);
    print_line(line);
  }
}

std::string ago(std::int64_t since) {
  const std::int64_t seconds = std::max<std::int64_t>(0, std::time(nullptr) - since);
  if (seconds < 120) return fmt::format("{} seconds", seconds);
  if (seconds < 2 * 3600) return fmt::format("{} minutes", seconds / 60);
  if (seconds < 2 * 86400) return fmt::format("{} hours", seconds / 3600);
  return fmt::format("{} days", seconds / 86400);
}

ProgressView::ProgressView() : ProgressView(std::cerr, on_terminal()) {}

ProgressView::ProgressView(std::ostream& out, bool live) : out_(out), live_(live) {}

void ProgressView::update(const rpc::Progress& progress, Clock::time_point now) {
  const bool is_new = progress.phase != phase_;
  const bool changed = is_new || without_numbers(progress.text) != without_numbers(text_);
  if (is_new) {
    began_ = now - progress.elapsed;
    announced_ = false;
  }
  phase_ = progress.phase;
  text_ = printable(progress.text);
  if (progress.done) {
    clear();
    const double seconds = static_cast<double>(progress.elapsed.count()) / 1000.0;
    out_ << fmt::format("{}{} {:.1f} s\n", live_ ? "\u2713 " : "", text_, seconds) << std::flush;
    phase_.clear();
  } else if (live_) {
    tick(now);
  } else if (announced_ && changed) {
    out_ << text_ << std::endl;
  }
}

void ProgressView::tick(Clock::time_point now) {
  if (phase_.empty()) return;
  const double seconds = std::chrono::duration<double>(now - began_).count();
  if (!live_) {
    if (announced_ || now - began_ < long_phase) return;
    announced_ = true;
    out_ << text_ << std::endl;
    return;
  }
  static constexpr const char* frames[] = {"|", "/", "-", "\\"};
  const std::string line = fmt::format("{} {} {:.1f} s", frames[frame_++ % 4], text_, seconds);
  out_ << "\r\033[K" << shortened(line, terminal_columns() - 1) << std::flush;
}

void ProgressView::clear() {
  if (live_) out_ << "\r\033[K" << std::flush;
}

}  // namespace cl::cli
