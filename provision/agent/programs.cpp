#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "provision/agent/services.hpp"
#include "provision/agent/system.hpp"
#include "provision/channel/protocol.hpp"

// A program of this system for the host: what `ssh` would run, over the session that is there already.

namespace cl::agent {
namespace {

constexpr std::size_t most_waiting = 256 * 1024;  // of its input; more stays with the host
constexpr std::size_t longest_command = 1 << 20;
constexpr rlim_t usual_descriptors = 1024;
constexpr int without_pidfd = 20;  // ms

struct Ends {
  UniqueFd input, output, errors;  // ours; with a terminal input and output are its master
  UniqueFd its_input, its_output, its_errors;
};

struct Screen {
  unsigned short columns = 0, rows = 0;
};

Screen read_screen(std::string_view text) {
  Screen screen;
  read_number(take_word(text), screen.columns);
  read_number(take_word(text), screen.rows);
  return screen;
}

void resize(int terminal, Screen screen) {
  winsize size{};
  size.ws_col = screen.columns;
  size.ws_row = screen.rows;
  ::ioctl(terminal, TIOCSWINSZ, &size);
}

bool make_pipe(UniqueFd& read_end, UniqueFd& write_end) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return false;
  read_end.reset(ends[0]);
  write_end.reset(ends[1]);
  return true;
}

bool make_ends(Ends& ends, bool terminal, Screen screen) {
  if (!terminal)
    return make_pipe(ends.its_input, ends.input) && make_pipe(ends.output, ends.its_output) &&
           make_pipe(ends.errors, ends.its_errors);
  ends.output.reset(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!ends.output || ::grantpt(ends.output.get()) != 0 || ::unlockpt(ends.output.get()) != 0) return false;
  const char* const name = ::ptsname(ends.output.get());
  if (name == nullptr) return false;
  ends.its_input.reset(::open(name, O_RDWR | O_NOCTTY | O_CLOEXEC));
  ends.input.reset(::fcntl(ends.output.get(), F_DUPFD_CLOEXEC, 3));
  resize(ends.output.get(), screen);
  return ends.its_input && ends.input;
}

[[noreturn]] void become(const Ends& ends, bool terminal, const std::string& type, const std::string& command) {
  ::setsid();
  if (terminal) ::ioctl(ends.its_input.get(), TIOCSCTTY, 0);
  ::dup2(ends.its_input.get(), 0);
  ::dup2(terminal ? ends.its_input.get() : ends.its_output.get(), 1);
  ::dup2(terminal ? ends.its_input.get() : ends.its_errors.get(), 2);
  ::signal(SIGPIPE, SIG_DFL);
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = std::min(limit.rlim_max, usual_descriptors);
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
  if (terminal) ::setenv("TERM", type.c_str(), 1);
  if (const char* home = ::getenv("HOME"); home != nullptr && ::chdir(home) != 0) ::chdir("/");
  const char* shell = ::getenv("SHELL");
  if (shell == nullptr || *shell != '/') shell = "/bin/sh";
  std::string name(shell);
  name.erase(0, name.rfind('/') + 1);
  // A dash makes it a login shell.
  if (command.empty()) ::execl(shell, ("-" + name).c_str(), nullptr);
  if (!command.empty()) ::execl(shell, name.c_str(), "-c", command.c_str(), nullptr);
  constexpr int cannot_execute = 127;
  ::_exit(cannot_execute);
}

/// What it has said goes to the host, behind `kind`. False at its end.
bool pass_on(Channel& host, int from, char kind) {
  char piece[most_data];
  piece[0] = kind;
  const ssize_t got = ::read(from, piece + 1, sizeof piece - 1);
  if (got < 0 && (errno == EINTR || errno == EAGAIN)) return true;
  if (got <= 0) return false;  // a terminal whose programs are gone says EIO
  host.send({piece, static_cast<std::size_t>(got) + 1});
  return true;
}

/// A running program.
class Running {
 public:
  Running(Channel& host, Ends ends, pid_t pid, bool terminal)
      : host_(host), ends_(std::move(ends)), pid_(pid), terminal_(terminal) {
    process_.reset(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    if (ends_.input) ::fcntl(ends_.input.get(), F_SETFL, ::fcntl(ends_.input.get(), F_GETFL) | O_NONBLOCK);
  }

  /// To its end, or until the host wants no more.
  void follow() {
    while (!ended()) {
      const int no = -1;
      pollfd watched[] = {{waiting_.size() < most_waiting ? host_.fd() : no, POLLIN, 0},
                          {waiting_.empty() ? no : ends_.input.get(), POLLOUT, 0},
                          {ends_.output ? ends_.output.get() : no, POLLIN, 0},
                          {ends_.errors ? ends_.errors.get() : no, POLLIN, 0},
                          {says_something() ? no : process_.get(), POLLIN, 0}};
      ::poll(watched, std::size(watched), says_something() || process_ ? -1 : without_pidfd);
      if (watched[0].revents != 0 && !take()) return hang_up();
      if (watched[1].revents != 0) give();
      if (watched[2].revents != 0 && !pass_on(host_, ends_.output.get(), 'o')) ends_.output.reset();
      if (watched[3].revents != 0 && !pass_on(host_, ends_.errors.get(), 'r')) ends_.errors.reset();
    }
    constexpr int by_signal = 128;
    const int code = WIFEXITED(status_) ? WEXITSTATUS(status_) : by_signal + WTERMSIG(status_);
    host_.send("x" + std::to_string(code));
    std::string rest;
    while (host_.receive(rest)) {  // the host ends the stream; until then what it still sends is taken
    }
  }

 private:
  bool says_something() const { return ends_.output || ends_.errors; }
  bool ended() { return !says_something() && ::waitpid(pid_, &status_, WNOHANG) == pid_; }

  /// The host's next message; false when it wants no more.
  bool take() {
    std::string message;
    if (!host_.receive(message)) return false;
    const std::string_view text = std::string_view(message).substr(1);
    if (message.front() == 'i' && ends_.input) waiting_ += text;
    if (message.front() == 'w' && terminal_ && ends_.output) resize(ends_.output.get(), read_screen(text));
    if (message.front() == 'e') input_ended_ = true;
    give();
    return true;
  }

  void give() {
    while (!waiting_.empty() && ends_.input) {
      const ssize_t put = ::write(ends_.input.get(), waiting_.data(), waiting_.size());
      if (put < 0 && errno == EINTR) continue;
      if (put < 0 && errno == EAGAIN) return;
      if (put < 0) break;  // it reads no more
      waiting_.erase(0, static_cast<std::size_t>(put));
      if (!waiting_.empty()) continue;
    }
    if (!waiting_.empty()) input_ended_ = true;
    waiting_.clear();
    if (input_ended_ && !terminal_) ends_.input.reset();
  }

  /// As a terminal that is closed.
  void hang_up() const { ::kill(-pid_, SIGHUP); }

  Channel& host_;
  Ends ends_;
  const pid_t pid_;
  const bool terminal_;
  UniqueFd process_;
  std::string waiting_;
  bool input_ended_ = false;
  int status_ = 0;
};

}  // namespace

void run_program(Channel& host, std::string_view arguments) {
  const bool terminal = !arguments.empty();
  const Screen screen = read_screen(arguments);
  take_word(arguments);
  take_word(arguments);
  const std::string type(arguments.empty() ? "xterm" : arguments);
  std::string command, message;
  do {
    if (!host.receive(message)) return;
    if (message.front() == 'c') command += std::string_view(message).substr(1);
  } while (message.front() != 's' && command.size() <= longest_command);
  // So that no pipe of the program's gets a number below 3.
  for (int low = 0; low < 2; ++low) ::open("/dev/null", O_RDWR | O_CLOEXEC);
  Ends ends;
  const pid_t pid = make_ends(ends, terminal, screen) ? ::fork() : -1;
  if (pid == 0) become(ends, terminal, type, command);
  if (pid < 0) {
    host.send("r" + error_text(errno) + "\n");
    host.send("x255");
    return;
  }
  ends.its_input.reset();
  ends.its_output.reset();
  ends.its_errors.reset();
  Running(host, std::move(ends), pid, terminal).follow();
}

}  // namespace cl::agent
