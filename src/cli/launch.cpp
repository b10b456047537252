#include "src/cli/launch.hpp"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/signal_set.hpp>
#include <iostream>
#include <optional>

#include "src/base/child.hpp"
#include "src/base/failure.hpp"
#include "src/base/file.hpp"
#include "src/base/file_lock.hpp"
#include "src/base/pipe.hpp"
#include "src/base/platform.hpp"
#include "src/base/task_group.hpp"
#include "src/base/unique_fd.hpp"
#include "src/cli/output.hpp"

namespace cl::cli {
namespace {

/// Up to the end of a line, or of what is written to the pipe.
asio::awaitable<std::string> read_ready_line(asio::posix::stream_descriptor& pipe) {
  std::string text;
  char buffer[4096];
  while (text.size() < rpc::max_line && !text.ends_with('\n')) {
    auto [ec, got] = co_await pipe.async_read_some(asio::buffer(buffer), no_throw);
    if (ec == asio::error::operation_aborted) throw boost::system::system_error(ec);
    if (ec) break;
    text.append(buffer, got);
  }
  while (text.ends_with('\n')) text.pop_back();
  co_return text;
}

/// How a daemon that does not listen has ended. It must not stay and hold the profile's lock, and nobody depends on it:
/// it is killed after `patience`.
asio::awaitable<ExitStatus> end_of(Child& child, std::chrono::milliseconds patience) {
  std::optional<ExitStatus> ended;
  const auto late = co_await failure_of(with_timeout(patience, "its end", store(child.wait(), ended)));
  if (!late && ended) co_return *ended;
  child.kill(SIGKILL);
  co_return co_await child.wait();
}

/// What was written to a log since it had `size` bytes; all of it when it was rotated meanwhile.
std::string lines_since(const fs::path& log, std::uintmax_t size) {
  constexpr std::size_t lines = 5;
  std::string text = read_file_if_exists(log).value_or("");
  if (size <= text.size()) text.erase(0, size);
  return last_lines(text, lines);
}

/// Starts a daemon and waits for the one line it writes when it listens, or why it does not.
/// Returns false when another daemon holds the profile.
asio::awaitable<bool> start_daemon(const ProfilePaths& paths, const Launch& launch) {
  auto executor = co_await asio::this_coro::executor;
  auto [read_end, write_end] = make_pipe();

  UniqueFd log(::open(paths.daemon_log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!log) throw io_error("cannot open " + paths.daemon_log.string(), errno);
  std::error_code unknown;
  const std::uintmax_t log_size = fs::file_size(paths.daemon_log, unknown);
  cl::Command command;
  command.argv = {launch.program.string(), "daemon", paths.name, std::to_string(write_end.get())};
  command.directory = "/";  // it must not keep the user's directory busy
  command.errors = log.get();
  command.keep = {write_end.get()};
  command.new_session = true;
  Child child = Child::start(executor, command);
  write_end.reset();

  asio::posix::stream_descriptor pipe(executor, read_end.release());
  std::string line;
  bool late = false;
  try {
    line = co_await with_timeout(launch.patience, "its start", read_ready_line(pipe));
  } catch (const Error&) {
    late = true;
  }
  if (line.empty()) {
    const ExitStatus status = co_await end_of(child, late ? std::chrono::milliseconds(0) : launch.last_patience);
    const std::string what = "the daemon of profile '" + paths.name + "' " +
                             (late ? "did not come up in time and was ended" : "ended while it started");
    const Error error(late ? Errc::timed_out : Errc::internal, what, "see " + paths.daemon_log.string());
    throw error.because(late ? "" : status.str()).because(lines_since(paths.daemon_log, log_size));
  }
  const rpc::Answer answer = rpc::decode_answer(line);
  if (const auto* error = std::get_if<Error>(&answer.body)) {
    co_await end_of(child, launch.last_patience);
    if (error->code() == Errc::busy) co_return false;
    throw *error;
  }
  co_return true;
}

}  // namespace

std::string with_digest(const std::string& file) {
  std::string pinned;
  run_async([](std::string given, std::string& into) -> asio::awaitable<int> {
    into = co_await pin_file(std::move(given));
    co_return 0;
  }(file, pinned));
  if (pinned != file) print_note("the file is pinned by what it holds now: " + pinned);
  return pinned;
}

void require_profile(const ProfilePaths& paths) {
  if (!file_exists(paths.config))
    throw Error(Errc::not_found, "there is no profile '" + paths.name + "'",
                "'colima-like list' shows the profiles; 'colima-like start " + paths.name + "' makes one");
}

asio::awaitable<rpc::Connection> reach_daemon(const ProfilePaths& paths, bool create, Launch launch) {
  if (create) {
    create_profile(paths);
  } else {
    require_profile(paths);
  }
  // Two commands may start a daemon at once: one gets the lock, the other finds it busy and connects to it, perhaps an
  // instant before it listens. One that is ending holds the lock for a moment after it has stopped to listen.
  constexpr auto pause = std::chrono::milliseconds(20);
  const auto until = std::chrono::steady_clock::now() + launch.busy_patience;
  while (std::chrono::steady_clock::now() < until) {
    auto connection = co_await rpc::connect(paths.control_socket);
    if (connection) co_return std::move(*connection);
    const bool started = !FileLock::is_held(paths.lock) && co_await start_daemon(paths, launch);
    if (!started) co_await sleep_for(pause);
  }
  throw Error(Errc::busy, "the daemon of profile '" + paths.name + "' does not answer",
              "wait a moment; if it stays so, end the process that holds " + paths.lock.string());
}

int run_async(asio::awaitable<int> work) {
  asio::io_context io(1);
  int code = 0;
  std::exception_ptr failure;
  asio::co_spawn(io, std::move(work), [&](std::exception_ptr error, int result) {
    failure = error;
    code = result;
    io.stop();
  });
  io.run();
  if (failure) std::rethrow_exception(failure);
  return code;
}

namespace {

asio::awaitable<void> tick(ProgressView& view) {
  for (;;) {
    co_await sleep_for(std::chrono::milliseconds(100));
    view.tick();
  }
}

asio::awaitable<void> cancel_on_signal(rpc::Connection& daemon) {
  asio::signal_set signals(co_await asio::this_coro::executor, SIGINT, SIGTERM);
  co_await signals.async_wait(asio::use_awaitable);
  const rpc::Request cancel = rpc::Cancel{};
  co_await daemon.write_line(rpc::encode(cancel));
  co_await signals.async_wait(asio::use_awaitable);
  ::_exit(exit_code(Errc::cancelled));
}

}  // namespace

asio::awaitable<boost::json::object> call_any(rpc::Connection& connection, rpc::Request request) {
  ProgressView view;
  TaskGroup helpers(co_await asio::this_coro::executor);
  co_await connection.write_line(rpc::encode(request));
  helpers.spawn("progress", tick(view));
  helpers.spawn("signals", cancel_on_signal(connection));
  std::vector<std::string> notes;
  rpc::Watcher watcher;
  watcher.on_progress = [&view](const rpc::Progress& progress) { view.update(progress); };
  watcher.on_note = [&notes](const std::string& note) { notes.push_back(note); };
  std::exception_ptr failure;
  boost::json::object result;
  try {
    result = co_await rpc::await_answer(connection, std::move(watcher));
  } catch (...) {
    failure = std::current_exception();
  }
  co_await helpers.stop();
  view.clear();
  for (const std::string& note : notes) print_note(note);
  if (failure) std::rethrow_exception(failure);
  co_return result;
}

void print_told(const rpc::Told& told) {
  for (const std::string& note : told.notes) print_note(note);
  if (!told.summary.empty()) print_line(told.summary);
}

asio::awaitable<boost::json::object> show_while(ProgressWork work) {
  auto executor = co_await asio::this_coro::executor;
  ProgressView view;
  TaskGroup helpers(executor);
  helpers.spawn("progress", tick(view));
  asio::signal_set signals(executor, SIGINT, SIGTERM);
  auto show = [&view](const rpc::Progress& progress) { view.update(progress); };
  auto race = asio::experimental::make_parallel_group(asio::co_spawn(executor, work(show), asio::deferred),
                                                      signals.async_wait(asio::deferred));
  auto [order, failure, result, signal_ec, number] =
      co_await race.async_wait(asio::experimental::wait_for_one(), asio::use_awaitable);
  co_await helpers.stop();
  view.clear();
  if (order[0] == 1) throw Error(Errc::cancelled, "interrupted");
  if (failure) std::rethrow_exception(failure);
  co_return std::move(result);
}

}  // namespace cl::cli
