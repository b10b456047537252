#include "src/daemon/daemon.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <cstdlib>
#include <system_error>

#include "profiles/words.hpp"
#include "src/base/descriptor_limit.hpp"
#include "src/base/failure.hpp"
#include "src/base/log.hpp"
#include "src/base/platform.hpp"
#include "src/base/unique_fd.hpp"
#include "src/daemon/drivers.hpp"
#include "src/daemon/handlers.hpp"
#include "src/daemon/supervisor.hpp"

namespace cl {
namespace {

constexpr auto first_request_patience = std::chrono::seconds(10);
constexpr auto end_patience = std::chrono::seconds(10);  // for a job that cannot be interrupted, after SIGTERM

/// Tells whoever started us; once.
void answer_ready(UniqueFd& ready, const rpc::Answer& answer) {
  const UniqueFd fd = std::move(ready);
  if (!fd) return;
  const std::string line = rpc::encode(answer) + "\n";
  // A pipe takes this much at once; when the CLI is gone there is nobody to tell.
  [[maybe_unused]] const ssize_t put = ::write(fd.get(), line.data(), line.size());
}

/// Listens for commands until the session is idle and none is connected, or until a signal. Throws when it cannot
/// listen; then nothing has begun.
asio::awaitable<void> serve_commands(Session& session, const ProfilePaths& paths, UniqueFd& ready) {
  auto executor = co_await asio::this_coro::executor;
  Event finished(executor);
  bool asked = false;
  auto handler = [&session, &asked](rpc::Connection& connection, rpc::Request request) {
    asked = true;
    return handle(session, connection, std::move(request));
  };
  rpc::Server server(executor, session.lock(), paths.control_socket, handler);
  session.take_over();
  auto end_when_idle = [&] {
    if (asked && session.idle() && server.connections() == 0) finished.set();
  };
  server.on_disconnect(end_when_idle);
  session.on_idle(end_when_idle);
  answer_ready(ready, rpc::json::object{});
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
  session.on_idle({});
  co_await server.stop();
  co_await tasks.stop();
}

/// Whatever throws, the session releases everything before it is destroyed. One that cannot is left as it is: the
/// process ends, which is what kill -9 would do, and the next daemon repairs.
asio::awaitable<void> serve(Session& session, const ProfilePaths& paths, UniqueFd& ready) {
  std::exception_ptr failure;
  try {
    co_await serve_commands(session, paths, ready);
  } catch (...) {
    failure = std::current_exception();
  }
  if (!co_await session.detach(end_patience)) {
    log::error("a job that is under way does not end; the next daemon takes over");
    ::_exit(0);
  }
  if (failure) std::rethrow_exception(failure);
}

[[noreturn]] void end_to_be_restarted(const std::string& why) {
  log::error("{}; the daemon ends, and another one takes over", why);
  ::_exit(restart_exit_code);
}

/// One daemon's life.
int serve_profile(const std::string& profile, UniqueFd& ready, const Crashes& crashes) {
  platform::return_freed_memory();
  try {
    Home home = find_home();
    ProfilePaths paths = profile_paths(home, profile);
    auto lock = FileLock::try_acquire(paths.lock);
    if (!lock) throw Error(Errc::busy, "profile '" + profile + "' has a daemon already");
    const char* debug = std::getenv("COLIMA_LIKE_DEBUG");
    log::open(paths.daemon_log, debug != nullptr ? log::Level::debug : log::Level::info);
    if (crashes.count > 0) log::error("the last daemon died: {}; restart {}", crashes.last, crashes.count);
    raise_descriptor_limit();

    asio::io_context io(1);
    Session session(io.get_executor(), std::move(home), paths, std::move(*lock), make_parts());
    session.on_fatal(&end_to_be_restarted);
    session.note_crashes(crashes);
    std::exception_ptr failure;
    auto on_end = [&failure, &io](std::exception_ptr error) {
      failure = error;
      io.stop();
    };
    asio::co_spawn(io, serve(session, paths, ready), on_end);
    io.run();
    if (failure) std::rethrow_exception(failure);
    return 0;
  } catch (...) {
    const Error error = error_of(std::current_exception());
    log::error("{}", one_line(error));
    answer_ready(ready, error);
    return exit_code(error.code());
  }
}

/// A machine runs, or is suspended and wants to be woken.
[[maybe_unused]] bool has_machine(const std::string& profile) {
  try {
    const ProfilePaths paths = profile_paths(find_home(), profile);
    std::error_code ignored;
    return FileLock::is_held(paths.machine_lock) || std::filesystem::exists(paths.saved_marker, ignored) ||
           make_driver(to_string(DriverWish::host))->is_kept(paths.run_directory);
  } catch (const std::exception&) {
    return false;
  }
}

}  // namespace

int run_daemon(const std::string& profile, int ready_fd) {
  UniqueFd ready(ready_fd);
  ::fcntl(ready.get(), F_SETFD, FD_CLOEXEC);
  ::umask(0077);
  ::signal(SIGPIPE, SIG_IGN);
  auto daemon = [&](const Crashes& crashes) { return serve_profile(profile, ready, crashes); };
#ifdef __APPLE__
  // CoreFoundation, which tells of file events, refuses to work in a forked process: nobody brings the daemon back
  // here.
  return daemon(Crashes{});
#else
  // Whoever waits for the line waits for the end of the pipe, too.
  auto forked = [&ready] { ready.reset(); };
  auto worth_it = [&profile] { return has_machine(profile); };
  return supervise(daemon, forked, worth_it);
#endif
}

}  // namespace cl
