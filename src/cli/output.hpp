#pragma once

#include <boost/json/value.hpp>
#include <chrono>
#include <iosfwd>
#include <string>
#include <vector>

#include "src/base/error.hpp"
#include "src/rpc/message.hpp"

/// What people and scripts see. Results go to stdout, everything else to stderr; colour only on a terminal.
namespace cl::cli {

/// "error: ...", "  because ...", "  try ..." on stderr.
void print_error(const Error& error);
/// A line for people on stderr.
void print_note(const std::string& text);
/// A line for people on stdout. Here, as in the others of this file, what a terminal would obey is made visible
/// (printable.hpp): names and errors may be the guest's.
void print_line(const std::string& text);
/// Indented JSON on stdout.
void print_json(const boost::json::value& value);
/// Rows of equal length with aligned columns on stdout; the first row is the heading.
void print_table(const std::vector<std::vector<std::string>>& rows);
/// "3 minutes", for a time since 1970.
std::string ago(std::int64_t since);

/// Phases: on a terminal one live line with the elapsed time under the finished ones, elsewhere a line when a phase has
/// ended, and before that only for one that takes long: what is read there later is a log.
class ProgressView {
 public:
  using Clock = std::chrono::steady_clock;

  /// On stderr, live when that is a terminal.
  ProgressView();
  /// `out` must outlive the view.
  ProgressView(std::ostream& out, bool live);
  void update(const rpc::Progress& progress, Clock::time_point now = Clock::now());
  /// To be called about every 100 ms.
  void tick(Clock::time_point now = Clock::now());
  /// Removes the live line; before anything else is printed.
  void clear();

 private:
  std::ostream& out_;
  bool live_;
  std::string phase_, text_;
  bool announced_ = false;  // without a terminal: the phase was told of while it lasts
  Clock::time_point began_;
  unsigned frame_ = 0;
};

}  // namespace cl::cli
