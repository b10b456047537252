#pragma once

#include <termios.h>

#include <optional>

#include "src/base/async.hpp"

namespace cl::cli {

struct Size {
  int columns, rows;
};

/// Of the terminal on stdin; nothing when stdin is none.
std::optional<Size> terminal_size();

/// Whether stdin and stdout are both a terminal, so that a remote program should have one too.
bool wants_terminal();

/// Whether what is written to stdout can be drawn over: a terminal, and no dumb one.
bool draws_on_stdout();

/// Returns once nobody reads stdout any more, which a program that has nothing to write would not notice.
asio::awaitable<void> reader_is_gone();

/// Puts the terminal on stdin into raw mode, and back when this goes (or at restore()).
class RawTerminal {
 public:
  explicit RawTerminal(bool wanted);
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;
  ~RawTerminal();
  void restore();

 private:
  std::optional<termios> before_;
};

}  // namespace cl::cli
