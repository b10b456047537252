#include "src/cli/terminal.hpp"

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <string_view>

namespace cl::cli {

std::optional<Size> terminal_size() {
  winsize size{};
  if (::isatty(STDIN_FILENO) != 1 || ::ioctl(STDIN_FILENO, TIOCGWINSZ, &size) != 0) return std::nullopt;
  return Size{size.ws_col > 0 ? size.ws_col : 80, size.ws_row > 0 ? size.ws_row : 24};
}

bool wants_terminal() { return ::isatty(STDIN_FILENO) == 1 && ::isatty(STDOUT_FILENO) == 1; }

bool draws_on_stdout() {
  const char* term = std::getenv("TERM");
  return ::isatty(STDOUT_FILENO) == 1 && (term == nullptr || std::string_view(term) != "dumb");
}

asio::awaitable<void> reader_is_gone() {
  constexpr auto pause = std::chrono::seconds(1);
  for (;;) {
    pollfd out{STDOUT_FILENO, 0, 0};
    if (::poll(&out, 1, 0) > 0 && (out.revents & (POLLERR | POLLHUP)) != 0) co_return;
    co_await sleep_for(pause);
  }
}

RawTerminal::RawTerminal(bool wanted) {
  termios now{};
  if (!wanted || ::tcgetattr(STDIN_FILENO, &now) != 0) return;
  before_ = now;
  ::cfmakeraw(&now);
  ::tcsetattr(STDIN_FILENO, TCSADRAIN, &now);
}

RawTerminal::~RawTerminal() { restore(); }

void RawTerminal::restore() {
  if (before_) ::tcsetattr(STDIN_FILENO, TCSADRAIN, &*before_);
  before_.reset();
}

}  // namespace cl::cli
