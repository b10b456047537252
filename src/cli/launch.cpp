#include "src/cli/launch.hpp"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/signal_set.hpp>

#include "src/base/child.hpp"
#include "src/base/file.hpp"
#include "src/base/platform.hpp"
#include "src/base/task_group.hpp"
#include "src/base/unique_fd.hpp"
#include "src/cli/output.hpp"

namespace cl::cli {
namespace {

/// Starts a daemon and waits for the one line it writes when it listens, or why it does not.
/// Returns false when another daemon holds the profile.
asio::awaitable<bool> start_daemon(const ProfilePaths& paths) {
  auto executor = co_await asio::this_coro::executor;
  int ends[2];
  if (::pipe(ends) != 0) throw io_error("cannot create a pipe", errno);
  UniqueFd read_end(ends[0]), write_end(ends[1]);
  ::fcntl(read_end.get(), F_SETFD, FD_CLOEXEC);

  UniqueFd log(::open(paths.daemon_log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!log) throw io_error("cannot open " + paths.daemon_log.string(), errno);
  cl::Command command;
  command.argv = {platform::executable().string(), "daemon", paths.name, std::to_string(write_end.get())};
  command.directory = "/";  // it must not keep the user's directory busy
  command.errors = log.get();
  command.keep = {write_end.get()};
  command.new_session = true;
  Child child = Child::start(executor, command);
  write_end.reset();

  asio::posix::stream_descriptor pipe(executor, read_end.release());
  std::string line(rpc::max_line, '\0');
  std::size_t size = 0;
  for (;;) {
    auto [ec, got] = co_await pipe.async_read_some(asio::buffer(line.data() + size, line.size() - size), no_throw);
    size += got;
    if (ec || size == line.size()) break;
  }
  line.resize(size);
  if (line.empty())
    throw Error(Errc::internal, "the daemon of profile '" + paths.name + "' ended while it started",
                "see " + paths.daemon_log.string())
        .because(tail_lines(paths.daemon_log, 5));
  line.erase(line.find_last_not_of('\n') + 1);
  const rpc::Answer answer = rpc::decode_answer(line);
  if (const auto* error = std::get_if<Error>(&answer)) {
    co_await child.wait();
    if (error->code() == Errc::busy) co_return false;
    throw *error;
  }
  co_return true;
}

}  // namespace

void require_profile(const ProfilePaths& paths) {
  if (!file_exists(paths.config))
    throw Error(Errc::not_found, "there is no profile '" + paths.name + "'",
                "'colima-like list' shows the profiles; 'colima-like start " + paths.name + "' makes one");
}

asio::awaitable<rpc::Connection> reach_daemon(const ProfilePaths& paths, bool create) {
  if (create) {
    create_profile(paths);
  } else {
    require_profile(paths);
  }
  // Two commands may start a daemon at once: one gets the lock, the other finds it busy and connects to it,
  // perhaps an instant before it listens.
  constexpr int tries = 100;
  constexpr auto pause = std::chrono::milliseconds(20);
  for (int i = 0; i < tries; ++i) {
    auto connection = co_await rpc::connect(paths.control_socket);
    if (connection) co_return std::move(*connection);
    const bool started = co_await start_daemon(paths);
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
  rpc::Request cancel;
  cancel.verb = "cancel";
  co_await daemon.write_line(rpc::encode(cancel));
  co_await signals.async_wait(asio::use_awaitable);
  ::_exit(exit_code(Errc::cancelled));
}

}  // namespace

asio::awaitable<boost::json::object> call_with_progress(rpc::Connection& connection, rpc::Request request) {
  ProgressView view;
  TaskGroup helpers(co_await asio::this_coro::executor);
  co_await connection.write_line(rpc::encode(request));
  helpers.spawn("progress", tick(view));
  helpers.spawn("signals", cancel_on_signal(connection));
  auto show = [&view](const rpc::Progress& progress) { view.update(progress); };
  std::exception_ptr failure;
  boost::json::object result;
  try {
    result = co_await rpc::await_answer(connection, show);
  } catch (...) {
    failure = std::current_exception();
  }
  co_await helpers.stop();
  view.clear();
  if (failure) std::rethrow_exception(failure);
  co_return result;
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
