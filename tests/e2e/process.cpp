#include "tests/e2e/process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __APPLE__
#include <util.h>
#else
#include <pty.h>
#endif

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <ostream>

#include "src/base/file.hpp"

namespace cl::e2e {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t shown = 4000;  // bytes of each output in a failure message

std::string ending(const std::string& text) {
  return text.size() <= shown ? text : "[...]" + text.substr(text.size() - shown);
}

int code_of(const ExitStatus& status) { return status.signal != 0 ? 128 + status.signal : status.code; }

/// "[ 9.81 s] colima-like start": where the time of a test goes.
std::string trace_line(const Result& result) {
  char seconds[32];
  std::snprintf(seconds, sizeof(seconds), "[%6.2f s] ", static_cast<double>(result.time.count()) / 1000);
  const std::string command = result.command.substr(0, result.command.find('\n'));
  return seconds + command.substr(0, 160) + '\n';
}

UniqueFd open_output(const fs::path& path) {
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd) throw io_error("cannot open " + path.string(), errno);
  return fd;
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const Result& result) {
  out << "\n$ " << result.command << "\n[exit code " << result.code << ", " << result.time.count() << " ms]\n";
  if (!result.out.empty()) out << "--- stdout\n" << ending(result.out) << '\n';
  if (!result.err.empty()) out << "--- stderr\n" << ending(result.err) << '\n';
  return out;
}

Process::Process(std::vector<std::string> argv, std::vector<std::string> environment, const fs::path& scratch)
    : argv_(std::move(argv)), began_(Clock::now()) {
  static int count = 0;
  const std::string number = std::to_string(++count);
  out_file_ = scratch / (number + ".out");
  err_file_ = scratch / (number + ".err");
  const UniqueFd out = open_output(out_file_), err = open_output(err_file_);
  int ends[2];
  if (::pipe(ends) != 0) throw io_error("cannot create a pipe", errno);
  const UniqueFd read_end(ends[0]);
  input_.reset(ends[1]);
  ::fcntl(ends[0], F_SETFD, FD_CLOEXEC);
  ::fcntl(ends[1], F_SETFD, FD_CLOEXEC);

  Command command;
  command.argv = argv_;
  command.environment = std::move(environment);
  command.input = read_end.get();
  command.output = out.get();
  command.errors = err.get();
  child_.emplace(Child::start(io_.get_executor(), command));
}

Process::~Process() {
  if (ended_) return;
  child_->kill(SIGKILL);
  ::waitpid(child_->pid(), nullptr, 0);
}

void Process::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(input_.get(), bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return;  // it ended, or closed its input: its exit code tells the rest
    bytes.remove_prefix(static_cast<std::size_t>(put));
  }
}

void Process::end_input() { input_.reset(); }
std::string Process::out() const { return read_file(out_file_); }
std::string Process::err() const { return read_file(err_file_); }

Result Process::wait(std::chrono::seconds limit) {
  end_input();
  std::optional<ExitStatus> status;
  auto note = [&status](Child& child) -> asio::awaitable<void> { status = co_await child.wait(); };
  asio::co_spawn(io_, note(*child_), [](const std::exception_ptr& failure) {
    if (failure) std::rethrow_exception(failure);
  });
  io_.restart();
  io_.run_for(limit);
  const bool late = !status;
  if (late) {
    child_->kill(SIGKILL);
    io_.restart();
    io_.run();
  }
  ended_ = true;
  Result result;
  for (const std::string& word : argv_) result.command += (result.command.empty() ? "" : " ") + word;
  result.code = late ? -1 : code_of(*status);
  result.out = out();
  result.err = err();
  result.time = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - began_);
  if (std::getenv("COLIMA_LIKE_E2E_TRACE") != nullptr) std::cerr << trace_line(result);
  return result;
}

bool eventually(std::chrono::seconds limit, const std::function<bool()>& done) {
  const auto deadline = Clock::now() + limit;
  while (!done()) {
    if (Clock::now() > deadline) return false;
    ::poll(nullptr, 0, 50);
  }
  return true;
}

Terminal::Terminal(const std::vector<std::string>& argv, const std::vector<std::string>& environment, int columns,
                   int rows) {
  winsize size{};
  size.ws_col = static_cast<unsigned short>(columns);
  size.ws_row = static_cast<unsigned short>(rows);
  int master = -1;
  pid_ = ::forkpty(&master, nullptr, nullptr, &size);
  if (pid_ < 0) throw io_error("cannot create a terminal", errno);
  if (pid_ == 0) {
    ::setenv("TERM", "xterm", 1);
    for (const std::string& entry : environment) {
      const auto equals = entry.find('=');
      if (equals == std::string::npos) {
        ::unsetenv(entry.c_str());
      } else {
        ::setenv(entry.substr(0, equals).c_str(), entry.c_str() + equals + 1, 1);
      }
    }
    std::vector<char*> words;
    for (const std::string& word : argv) words.push_back(const_cast<char*>(word.c_str()));
    words.push_back(nullptr);
    ::execvp(words[0], words.data());
    ::_exit(127);
  }
  master_.reset(master);
  ::fcntl(master, F_SETFD, FD_CLOEXEC);
}

Terminal::~Terminal() {
  if (ended_) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

void Terminal::type(std::string_view keys) {
  if (::write(master_.get(), keys.data(), keys.size()) < 0) screen_ += "\n[typing failed: the program has ended]\n";
}

void Terminal::resize(int columns, int rows) {
  winsize size{};
  size.ws_col = static_cast<unsigned short>(columns);
  size.ws_row = static_cast<unsigned short>(rows);
  ::ioctl(master_.get(), TIOCSWINSZ, &size);  // the kernel sends SIGWINCH
}

bool Terminal::read_some(Clock::time_point deadline) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
  if (left.count() <= 0) return false;
  pollfd watched{master_.get(), POLLIN, 0};
  if (::poll(&watched, 1, static_cast<int>(left.count())) <= 0) return false;
  char buffer[4096];
  const ssize_t got = ::read(master_.get(), buffer, sizeof buffer);
  if (got <= 0) return false;  // EIO: the last program on it has ended
  screen_.append(buffer, static_cast<std::size_t>(got));
  return true;
}

bool Terminal::expect(std::string_view text, std::chrono::seconds limit) {
  const auto deadline = Clock::now() + limit;
  for (;;) {
    const auto found = screen_.find(text, seen_);
    if (found != std::string::npos) {
      seen_ = found + text.size();
      return true;
    }
    if (!read_some(deadline)) return false;
  }
}

int Terminal::wait(std::chrono::seconds limit) {
  const auto deadline = Clock::now() + limit;
  while (read_some(deadline)) {
  }
  int status = 0;
  if (!eventually(2s, [&] { return ::waitpid(pid_, &status, WNOHANG) == pid_; })) return -1;
  ended_ = true;
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace cl::e2e
