#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/write.hpp>
#include <cstdlib>

#include "profiles/state.hpp"
#include "src/base/task_group.hpp"
#include "src/cli/command.hpp"
#include "src/cli/launch.hpp"
#include "src/cli/terminal.hpp"

namespace cl::cli {
namespace {

using Kind = rpc::Frame::Kind;

asio::awaitable<void> send_input(rpc::FrameSender& sender) {
  // Regular files and /dev/null cannot be waited for with epoll: those are read plainly.
  UniqueFd fd(::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3));
  error_code no_waiting;
  asio::posix::stream_descriptor input(co_await asio::this_coro::executor);
  if (fd) input.assign(fd.get(), no_waiting);
  std::string buffer(64 * 1024, '\0');
  while (fd) {
    std::size_t got = 0;
    if (no_waiting) {
      const ssize_t count = ::read(fd.get(), buffer.data(), buffer.size());
      got = count > 0 ? static_cast<std::size_t>(count) : 0;
    } else {
      auto [ec] = co_await input.async_wait(asio::posix::stream_descriptor::wait_read, no_throw);
      if (ec) throw boost::system::system_error(ec);
      const ssize_t count = ::read(fd.get(), buffer.data(), buffer.size());
      got = count > 0 ? static_cast<std::size_t>(count) : 0;
    }
    if (got == 0) break;
    rpc::Frame frame{Kind::input, buffer.substr(0, got)};
    co_await sender.send(std::move(frame));
  }
  if (!no_waiting) input.release();
  rpc::Frame end{Kind::input_end, {}};
  co_await sender.send(std::move(end));
}

asio::awaitable<void> send_window_changes(rpc::FrameSender& sender) {
  asio::signal_set resized(co_await asio::this_coro::executor, SIGWINCH);
  for (;;) {
    co_await resized.async_wait(asio::use_awaitable);
    const auto size = terminal_size();
    if (!size) continue;
    rpc::Frame frame{Kind::resize, std::to_string(size->columns) + " " + std::to_string(size->rows)};
    co_await sender.send(std::move(frame));
  }
}

void write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(fd, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return;  // a closed pipe: SIGPIPE ends us as it would end ssh
    bytes.remove_prefix(static_cast<std::size_t>(put));
  }
}

/// Words as the guest's shell reads them back unchanged when there are several; one word is a shell line, as with ssh.
std::string joined(const std::vector<std::string>& words) {
  if (words.size() == 1) return words.front();
  std::string line;
  for (const std::string& word : words) {
    line += line.empty() ? "'" : " '";
    for (const char c : word) line += c == '\'' ? std::string("'\\''") : std::string(1, c);
    line += "'";
  }
  return line;
}

/// Runs what `request` asks for in the machine, with our stdin and stdout.
asio::awaitable<int> run_remotely(const Invocation& call, rpc::Request request, std::optional<Size> size) {
  const ProfilePaths paths = profile_paths(call.home, call.profile);
  require_profile(paths);
  if (const Observed seen = observe(paths); !seen.machine_alive && seen.state.phase != "suspended")
    throw Error(Errc::not_running, "profile '" + paths.name + "' is not running", "colima-like start " + paths.name);

  auto executor = co_await asio::this_coro::executor;
  rpc::Connection daemon = co_await reach_daemon(paths, false);
  co_await daemon.write_line(rpc::encode(request));
  co_await rpc::await_answer(daemon, {});

  RawTerminal raw(size.has_value());
  rpc::FrameSender sender(daemon, executor);
  TaskGroup tasks(executor);
  tasks.spawn("input", send_input(sender));
  if (size) tasks.spawn("window", send_window_changes(sender));
  int code = 255;  // what ssh says when the connection breaks
  bool ended = false;
  while (!ended) {
    auto frame = co_await daemon.read_frame();
    if (!frame) break;
    if (frame->kind == Kind::output) write_all(STDOUT_FILENO, frame->payload);
    if (frame->kind == Kind::errors) write_all(STDERR_FILENO, frame->payload);
    if (frame->kind == Kind::exit) {
      code = std::atoi(frame->payload.c_str());
      ended = true;
    }
  }
  co_await tasks.stop();
  raw.restore();
  if (!ended)
    throw Error(Errc::guest_failed, "the connection to the machine broke",
                "'colima-like status " + paths.name + "' shows its state");
  co_return code;
}

}  // namespace

int run_ssh(const Invocation& call) {
  const std::optional<Size> size = call.command.empty() || wants_terminal() ? terminal_size() : std::nullopt;
  rpc::Request request{"exec", {}};
  request.arguments["command"] = joined(call.command);
  if (size) {
    const char* term = std::getenv("TERM");
    request.arguments["columns"] = size->columns;
    request.arguments["rows"] = size->rows;
    request.arguments["term"] = term != nullptr ? term : "xterm";
  }
  return run_async(run_remotely(call, std::move(request), size));
}

namespace {

/// A program of the machine, as if it were here: arguments, stdin, stdout and the exit code are its own.
int run_program(const Invocation& call, const std::string& program) {
  Invocation with_program = call;
  with_program.command.insert(with_program.command.begin(), program);
  if (with_program.command.size() == 1) with_program.command.emplace_back("--help");
  return run_ssh(with_program);
}

}  // namespace

int run_ctr(const Invocation& call) { return run_program(call, "ctr"); }
int run_nerdctl(const Invocation& call) { return run_program(call, "nerdctl"); }

int run_ssh_server(const Invocation& call) {
  rpc::Request request{"ssh_server", {}};
  return run_async(run_remotely(call, std::move(request), std::nullopt));
}

}  // namespace cl::cli
