#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <boost/asio/signal_set.hpp>
#include <boost/asio/write.hpp>
#include <cstdlib>

#include "profiles/state.hpp"
#include "src/base/file.hpp"
#include "src/base/platform.hpp"
#include "src/base/shell.hpp"
#include "src/base/task_group.hpp"
#include "src/base/text.hpp"
#include "src/cli/command.hpp"
#include "src/cli/launch.hpp"
#include "src/cli/output.hpp"
#include "src/cli/remote.hpp"
#include "src/cli/ssh_config.hpp"
#include "src/cli/terminal.hpp"

namespace cl::cli {
namespace {

using Kind = rpc::Frame::Kind;

asio::awaitable<void> send_input(rpc::FrameSender& sender) {
  std::string buffer(64 * 1024, '\0');
  for (;;) {
    co_await platform::wait_readable(STDIN_FILENO);
    const ssize_t got = ::read(STDIN_FILENO, buffer.data(), buffer.size());
    // Whoever shares our input may have taken it first.
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got <= 0) break;
    rpc::Frame frame{Kind::input, buffer.substr(0, static_cast<std::size_t>(got))};
    co_await sender.send(std::move(frame));
  }
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

/// False when nobody reads it any more. Waits where `fd` was handed to us as non-blocking.
bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(fd, bytes.data(), bytes.size());
    if (put < 0 && errno == EAGAIN) {
      pollfd room{fd, POLLOUT, 0};
      ::poll(&room, 1, -1);
    } else if (put < 0 && errno != EINTR) {
      return false;
    }
    if (put > 0) bytes.remove_prefix(static_cast<std::size_t>(put));
  }
  return true;
}

/// Words as the guest's shell reads them back unchanged when there are several; one word is a shell line, as with ssh.
std::string joined(const std::vector<std::string>& words) {
  if (words.size() == 1) return words.front();
  std::string line;
  for (const std::string& word : words) line += (line.empty() ? "" : " ") + shell_quoted(word);
  return line;
}

/// Runs what `request` asks for in the machine, with our stdin and stdout.
asio::awaitable<int> run_remotely(const Invocation& call, rpc::Request request, std::optional<Size> size) {
  const ProfilePaths paths = reachable(call.home, call.profile);
  auto executor = co_await asio::this_coro::executor;
  rpc::Connection daemon = co_await reach_daemon(paths, false);
  co_await daemon.write_line(rpc::encode(request));
  rpc::Watcher watcher;
  watcher.on_note = [](const std::string& note) { print_note(note); };
  co_await rpc::await_answer(daemon, std::move(watcher));

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
    if (frame->kind == Kind::output && !write_all(STDOUT_FILENO, frame->payload)) {
      code = 128 + SIGPIPE;  // and the daemon hangs up on the program when we are gone
      ended = true;
    }
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

/// The session that the host's own ssh makes, with its agent: libssh2 takes no agent channels before 1.11.
[[noreturn]] void become_ssh(const Invocation& call) {
  const ProfilePaths paths = reachable(call.home, call.profile);
  const fs::path file = paths.run_directory / "ssh_config";
  write_atomically(file, ssh_stanza(call.home, paths));
  std::vector<std::string> words{"ssh", "-F", file.string(), "-o", "LogLevel=ERROR", host_name(paths.name)};
  if (wants_terminal()) words.insert(words.end() - 1, "-t");
  if (!call.command.empty()) words.insert(words.end(), {"--", joined(call.command)});
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  ::execvp(argv[0], argv.data());
  throw Error(Errc::host_requirement, "ssh cannot be run", "install OpenSSH's client, or: config set ssh.agent false");
}

rpc::Request exec_request(std::string line, const std::optional<Size>& size) {
  rpc::Exec request;
  request.command = std::move(line);
  if (size) {
    const char* term = std::getenv("TERM");
    request.columns = static_cast<std::uint16_t>(size->columns);
    request.rows = static_cast<std::uint16_t>(size->rows);
    request.term = term != nullptr ? term : "xterm";
  }
  return request;
}

}  // namespace

int run_ssh(const Invocation& call) {
  if (std::getenv("SSH_AUTH_SOCK") != nullptr) {
    const auto state = load_state(profile_paths(call.home, call.profile));
    if (state && state->profile.ssh_agent) become_ssh(call);
  }
  const std::optional<Size> size = call.command.empty() || wants_terminal() ? terminal_size() : std::nullopt;
  return run_async(run_remotely(call, exec_request(joined(call.command), size), size));
}

int run_in_terminal(const Invocation& call, std::string line) {
  const std::optional<Size> size = wants_terminal() ? terminal_size() : std::nullopt;
  return run_async(run_remotely(call, exec_request(std::move(line), size), size));
}

namespace {

/// A program of the machine, as if it were here: arguments, stdin, stdout and the exit code are its own. `missing` is
/// printed where there is no such program, and the exit code is the shell's for that; `before` is a shell line.
int run_program(const Invocation& call, const std::string& program, const std::string& before,
                const std::string& missing) {
  std::vector<std::string> words = call.command;
  if (words.empty()) words.emplace_back("--help");
  words.insert(words.begin(), program);
  Invocation with_program = call;
  with_program.command = {
      before + "if command -v " + program + " >/dev/null; then exec " + joined(words) + "; fi; printf '%s\\n' " +
      shell_quoted("error: " + program + " is not in the machine\n  " + missing) + " >&2; exit 127"};
  return run_ssh(with_program);
}

/// Paths of this folder mean the same in the machine where it is shared. Where it is not, builds and compose files
/// would be looked for elsewhere, which is said.
std::string in_this_folder(const std::vector<std::string>& command) {
  std::error_code gone;
  const std::string folder = fs::current_path(gone).string();
  if (gone) return {};
  std::string line = "cd " + shell_quoted(folder) + " 2>/dev/null";
  if (!command.empty() && (command.front() == "build" || command.front() == "compose"))
    line += " || printf 'note: %s is not shared with the machine, and nerdctl runs in its %s\\n' " +
            shell_quoted(folder) + " \"$PWD\" >&2";
  return line + "; ";
}

}  // namespace

int run_ctr(const Invocation& call) {
  return run_program(call, "ctr", "", "try: colima-like config set runtime containerd, and colima-like restart");
}
int run_nerdctl(const Invocation& call) {
  return run_program(call, "nerdctl", in_this_folder(call.command),
                     "because a machine gets it with the runtime containerd, when it starts\n  try: colima-like config "
                     "set runtime containerd, and colima-like restart, which says why where it cannot be had");
}

int run_ssh_server(const Invocation& call) { return run_async(run_remotely(call, rpc::SshServer{}, std::nullopt)); }

}  // namespace cl::cli
