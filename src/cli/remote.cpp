#include "src/cli/remote.hpp"

#include <cstdlib>

#include "src/base/file.hpp"
#include "src/cli/launch.hpp"
#include "src/cli/output.hpp"

namespace cl::cli {
namespace {

using Kind = rpc::Frame::Kind;

}  // namespace

ProfilePaths reachable(const Home& home, const std::string& profile) {
  ProfilePaths paths = profile_paths(home, profile);
  require_profile(paths);
  if (const Observed seen = observe(paths); !seen.machine_alive && seen.state.phase != "suspended")
    throw Error(Errc::not_running, "profile '" + paths.name + "' is not running", "colima-like start " + paths.name);
  return paths;
}

asio::awaitable<RemoteCommand> RemoteCommand::start(ProfilePaths paths, std::string line) {
  rpc::Connection daemon = co_await reach_daemon(paths, false);
  rpc::Exec exec;
  exec.command = std::move(line);
  const rpc::Request request(std::move(exec));
  co_await daemon.write_line(rpc::encode(request));
  rpc::Watcher watcher;
  watcher.on_note = [](const std::string& note) { print_note(note); };
  co_await rpc::await_answer(daemon, std::move(watcher));
  co_return RemoteCommand(std::move(daemon));
}

asio::awaitable<bool> RemoteCommand::send(rpc::Frame frame) {
  if (deaf_) co_return false;
  try {
    co_await daemon_.write_frame(std::move(frame));
  } catch (const Error&) {
    deaf_ = true;
  }
  co_return !deaf_;
}

asio::awaitable<bool> RemoteCommand::write(std::string bytes) {
  rpc::Frame frame{Kind::input, std::move(bytes)};
  co_return co_await send(std::move(frame));
}

asio::awaitable<void> RemoteCommand::end_input() {
  rpc::Frame frame{Kind::input_end, {}};
  co_await send(std::move(frame));
}

asio::awaitable<std::optional<std::string>> RemoteCommand::read() {
  if (!ahead_.empty()) co_return std::exchange(ahead_, {});
  constexpr std::size_t most_errors = 64 * 1024;
  while (!ended_) {
    auto frame = co_await daemon_.read_frame();
    if (!frame) {
      ended_ = true;
    } else if (frame->kind == Kind::output) {
      co_return std::move(frame->payload);
    } else if (frame->kind == Kind::errors) {
      errors_ += frame->payload;
      if (errors_.size() > most_errors) errors_.erase(0, errors_.size() - most_errors);
    } else if (frame->kind == Kind::exit) {
      code_ = std::atoi(frame->payload.c_str());
      ended_ = true;
    }
  }
  co_return std::nullopt;
}

asio::awaitable<std::optional<std::string>> RemoteCommand::read_line() {
  std::string text;
  for (;;) {
    auto more = co_await read();
    if (!more) co_return std::nullopt;
    const auto end = more->find('\n');
    text += more->substr(0, end);
    if (end == std::string::npos) continue;
    ahead_ = more->substr(end + 1);
    co_return text;
  }
}

std::string RemoteCommand::last_words() const {
  constexpr std::size_t lines = 5;
  return last_lines(errors_, lines);
}

Error RemoteCommand::failure(const std::string& what) const {
  const std::string last = last_words();
  return Error(Errc::guest_failed, what, "'colima-like ssh' is a shell in the machine")
      .because(last.empty() ? "the command in the machine ended with exit code " + std::to_string(code_) : last);
}

asio::awaitable<std::string> capture(ProfilePaths paths, std::string line, std::string what) {
  RemoteCommand command = co_await RemoteCommand::start(std::move(paths), std::move(line));
  co_await command.end_input();
  std::string output;
  while (auto more = co_await command.read()) output += *more;
  if (command.code() != 0) throw command.failure(what);
  co_return output;
}

}  // namespace cl::cli
