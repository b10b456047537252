#include "src/daemon/daemon.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <cstdlib>

#include "src/base/log.hpp"
#include "src/base/platform.hpp"
#include "src/daemon/handlers.hpp"

namespace cl {
namespace {

constexpr auto first_request_patience = std::chrono::seconds(10);

void answer_ready(int fd, const rpc::Answer& answer) {
  const std::string line = rpc::encode(answer) + "\n";
  // A pipe takes this much at once; when the CLI is gone there is nobody to tell.
  [[maybe_unused]] const ssize_t put = ::write(fd, line.data(), line.size());
  ::close(fd);
}

/// Ends the loop when the session is idle and no command is connected.
asio::awaitable<void> serve(Home home, ProfilePaths paths, FileLock lock, int ready_fd) {
  auto executor = co_await asio::this_coro::executor;
  Session session(executor, std::move(home), paths, std::move(lock), &make_driver);
  session.take_over();

  Event finished(executor);
  bool asked = false;
  auto handler = [&session, &asked](rpc::Connection& connection, rpc::Request request) {
    asked = true;
    return handle(session, connection, std::move(request));
  };
  rpc::Server server(executor, session.lock(), paths.control_socket, handler);
  auto end_when_idle = [&] {
    if (asked && session.idle() && server.connections() == 0) finished.set();
  };
  server.on_disconnect(end_when_idle);
  session.on_idle(end_when_idle);
  answer_ready(ready_fd, rpc::json::object{});
  log::info("listening");

  TaskGroup tasks(executor);
  auto end_when_unused = [](bool& was_asked, std::function<void()> end) -> asio::awaitable<void> {
    co_await sleep_for(first_request_patience);
    was_asked = true;  // whoever started us is gone
    end();
  };
  bool told_to_end = false;
  auto end_on_signal = [](Event& end, bool& told) -> asio::awaitable<void> {
    asio::signal_set signals(co_await asio::this_coro::executor, SIGTERM, SIGINT);
    co_await signals.async_wait(asio::use_awaitable);
    told = true;
    end.set();
  };
  tasks.spawn("unused", end_when_unused(asked, end_when_idle));
  tasks.spawn("signals", end_on_signal(finished, told_to_end));
  co_await finished.wait();
  while (!told_to_end && !server.close_if_unused()) {  // a command has come in the meantime: it is served, too
    finished.reset();
    co_await finished.wait();
  }
  log::info("ending");
  co_await server.stop();
  co_await session.detach();
  co_await tasks.stop();
}

}  // namespace

int run_daemon(const std::string& profile, int ready_fd) {
  ::fcntl(ready_fd, F_SETFD, FD_CLOEXEC);
  ::umask(0077);
  ::signal(SIGPIPE, SIG_IGN);
  platform::return_freed_memory();
  try {
    Home home = find_home();
    ProfilePaths paths = profile_paths(home, profile);
    auto lock = FileLock::try_acquire(paths.lock);
    if (!lock) throw Error(Errc::busy, "profile '" + profile + "' has a daemon already");
    const char* debug = std::getenv("COLIMA_LIKE_DEBUG");
    log::open(paths.daemon_log, debug != nullptr ? log::Level::debug : log::Level::info);
    raise_descriptor_limit();

    asio::io_context io(1);
    std::exception_ptr failure;
    asio::co_spawn(io, serve(std::move(home), std::move(paths), std::move(*lock), ready_fd),
                   [&failure](std::exception_ptr error) { failure = error; });
    io.run();
    if (failure) std::rethrow_exception(failure);
    return 0;
  } catch (const Error& error) {
    log::error("{}", one_line(error));
    answer_ready(ready_fd, error);
    return exit_code(error.code());
  } catch (const std::exception& error) {
    log::error("{}", error.what());
    answer_ready(ready_fd, Error(Errc::internal, "the daemon failed").because(error.what()));
    return exit_code(Errc::internal);
  }
}

}  // namespace cl
