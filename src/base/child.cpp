#include "src/base/child.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__linux__) && !defined(__GLIBC__)
#include <sys/syscall.h>
/// musl has none, and Boost.Process calls it.
inline int close_range(unsigned first, unsigned last, int flags) {
  return static_cast<int>(::syscall(SYS_close_range, first, last, flags));
}
#endif

#define BOOST_PROCESS_USE_STD_FS 1
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/write.hpp>
#include <boost/process/v2/process.hpp>
#include <boost/process/v2/start_dir.hpp>
#include <boost/process/v2/stdio.hpp>
#include <cstdlib>
#include <map>

#include "src/base/descriptor_limit.hpp"
#include "src/base/file.hpp"
#include "src/base/pipe.hpp"
#include "src/base/platform.hpp"
#include "src/base/unique_fd.hpp"

namespace cl {
namespace bp = boost::process::v2;
namespace {

constexpr std::size_t kept_output = 16 << 20;

/// Initialiser for the launcher. Boost 1.83 leaves low descriptors open in the child and its
/// "close all others" is broken there, so a forgotten listener would live on inside QEMU.
struct Prepare {
  const Command& command;
  const std::vector<const char*>& environment;  // ends with a null

  // Not bp::process_environment: 1.83 declares its on_setup but leaves it out of the headers.
  template <class... Rest>
  error_code on_setup(bp::posix::default_launcher& launcher, const bp::filesystem::path&, const char* const*,
                      Rest&&...) {
    launcher.env = environment.data();
    return {};
  }
  template <class... Rest>
  error_code on_exec_setup(bp::posix::default_launcher&, const bp::filesystem::path&, const char* const*, Rest&&...) {
    // The launcher returns success when errno is 0 and an initialiser fails: give it a real errno.
    if (command.new_session && ::setsid() < 0) return {errno, boost::system::system_category()};
    if (command.small_pages) platform::avoid_huge_pages();
    sigset_t none;
    sigemptyset(&none);  // a macro on macOS
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::signal(SIGPIPE, SIG_DFL);
    restore_descriptor_limit();
    if (const int failure = platform::seal_descriptors(command.keep); failure != 0)
      return {failure, boost::system::system_category()};
    return {};
  }

  // Only called in the child, after the reason was sent to the parent. The launcher would call exit(), which runs
  // our static destructors and atexit handlers in the fork. (It probes with other arguments than it calls with.)
  template <class... Any>
  void on_exec_error(Any&&...) noexcept {
    ::_exit(127);
  }
};

/// Our environment with the command's entries over it.
std::vector<std::string> merged_environment(const std::vector<std::string>& over) {
  std::map<std::string, std::string> all;
  auto put = [&](std::string_view entry) {
    const auto equals = entry.find('=');
    if (equals == std::string_view::npos) {
      all.erase(std::string(entry));
      return;
    }
    all[std::string(entry.substr(0, equals))] = entry.substr(equals + 1);
  };
  for (char** entry = environ; *entry != nullptr; ++entry) put(*entry);
  for (const std::string& entry : over) put(entry);
  std::vector<std::string> list;
  for (const auto& [name, value] : all) list.push_back(name + "=" + value);
  return list;
}

asio::awaitable<void> feed(asio::posix::stream_descriptor pipe, std::string bytes) {
  // A program may end without reading its input: an error here is its business, not ours.
  co_await asio::async_write(pipe, asio::buffer(bytes), no_throw);
}

asio::awaitable<std::string> drain(asio::posix::stream_descriptor pipe, OnLine on_line) {
  std::string all, line;
  std::vector<char> buffer(64 * 1024);
  for (;;) {
    auto [ec, got] = co_await pipe.async_read_some(asio::buffer(buffer), no_throw);
    if (ec == asio::error::operation_aborted) throw boost::system::system_error(ec);
    if (ec) {
      if (all.size() > kept_output) all.erase(0, all.size() - kept_output);
      co_return all;
    }
    const std::string_view part(buffer.data(), got);
    all += part;
    if (all.size() > 2 * kept_output) all.erase(0, all.size() - kept_output);  // seldom: it moves megabytes
    if (!on_line) continue;
    for (const char c : part) {
      if (c != '\n') {
        line += c;
        continue;
      }
      on_line(line);
      line.clear();
    }
  }
}

}  // namespace

std::string ExitStatus::str() const {
  return signal != 0 ? "signal " + std::to_string(signal) : "exit code " + std::to_string(code);
}

struct Child::State {
  pid_t pid = 0;
  bool reaped = false;
  ExitStatus status;
};

Child::Child(std::unique_ptr<State> state) : state_(std::move(state)) {}
Child::Child(Child&&) noexcept = default;
Child& Child::operator=(Child&&) noexcept = default;

Child::~Child() = default;

Child Child::start(const asio::any_io_executor& executor, const Command& command) {
  const std::string& name = command.argv.at(0);
  const auto program = find_program(name);
  if (!program) throw Error(Errc::host_requirement, name + " is not installed or not in PATH");

  UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null) throw io_error("cannot open /dev/null", errno);
  bp::process_stdio stdio;
  stdio.in = command.input >= 0 ? command.input : null.get();
  stdio.out = command.output >= 0 ? command.output : null.get();
  stdio.err = command.errors >= 0 ? command.errors : null.get();
  const std::vector<std::string> environment = merged_environment(command.environment);
  std::vector<const char*> entries;
  for (const std::string& entry : environment) entries.push_back(entry.c_str());
  entries.push_back(nullptr);
  const std::vector<std::string> arguments(command.argv.begin() + 1, command.argv.end());
  const bp::filesystem::path directory = command.directory.empty() ? bp::filesystem::path(".") : command.directory;

  error_code ec;
  bp::posix::default_launcher launcher;
  bp::process process = launcher(executor, ec, *program, arguments, std::move(stdio), bp::process_start_dir(directory),
                                 Prepare{command, entries});
  if (ec) {
    // Boost leaves the forked child whose exec failed a zombie; it is on its way out already.
    if (launcher.pid > 0)
      while (::waitpid(launcher.pid, nullptr, 0) < 0 && errno == EINTR) {
      }
    throw Error(Errc::io, "cannot start " + program->string()).because(ec.message());
  }
  auto state = std::make_unique<State>();
  state->pid = process.id();
  process.detach();  // its destructor would kill and block, and its wait can block too: see wait()
  return Child(std::move(state));
}

pid_t Child::pid() const noexcept { return state_->pid; }

asio::awaitable<ExitStatus> Child::wait() {
  // Not Boost's async_wait: in 1.83 it calls a blocking waitpid() once it is told that the process ended, and Asio may
  // tell so by mistake, by an event of an earlier descriptor whose state object was used again.
  State* const state = state_.get();  // stays where it is when the Child is moved
  while (!state->reaped) {
    co_await platform::wait_until_gone(state->pid);
    if (state->reaped) break;  // another waiter was first
    int native = 0;
    const pid_t got = ::waitpid(state->pid, &native, WNOHANG);
    if (got < 0 && errno != EINTR)
      throw io_error("cannot learn how process " + std::to_string(state->pid) + " ended", errno);
    if (got != state->pid) continue;
    state->reaped = true;
    if (WIFSIGNALED(native)) {
      state->status.signal = WTERMSIG(native);
    } else {
      state->status.code = WEXITSTATUS(native);
    }
  }
  co_return state->status;
}

void Child::kill(int signal) {
  if (!state_->reaped) ::kill(pid(), signal);
}

void Child::kill_group(int signal) {
  if (!state_->reaped) ::kill(-pid(), signal);
}

asio::awaitable<Finished> run(Command command, std::string input, std::chrono::milliseconds limit, OnLine on_line) {
  auto executor = co_await asio::this_coro::executor;
  Pipe in = make_pipe(), out = make_pipe(), err = make_pipe();
  command.input = in.read_end.get();
  command.output = out.write_end.get();
  command.errors = err.write_end.get();
  command.new_session = true;  // so that the whole family can be ended with one kill
  Child child = Child::start(executor, command);
  in.read_end.reset();
  out.write_end.reset();
  err.write_end.reset();

  asio::posix::stream_descriptor feeder(executor, in.write_end.release());
  asio::posix::stream_descriptor output(executor, out.read_end.release());
  asio::posix::stream_descriptor errors(executor, err.read_end.release());
  asio::steady_timer timer(executor, limit);
  auto work = asio::experimental::make_parallel_group(
      asio::co_spawn(executor, feed(std::move(feeder), std::move(input)), asio::deferred),
      asio::co_spawn(executor, drain(std::move(output), std::move(on_line)), asio::deferred),
      asio::co_spawn(executor, drain(std::move(errors), {}), asio::deferred));
  auto to_its_end = asio::co_spawn(
      executor,
      [](decltype(work) group, Child& until) -> asio::awaitable<std::pair<std::string, std::string>> {
        auto [order, e1, e2, o, e3, e] =
            co_await group.async_wait(asio::experimental::wait_for_one_error(), asio::use_awaitable);
        for (const auto& failure : {e2, e3})  // stdout's first: when it fails, stderr is only cancelled
          if (failure) std::rethrow_exception(failure);
        co_await until.wait();  // a program may close its output and stay
        co_return std::pair(std::move(o), std::move(e));
      }(std::move(work), child),
      asio::deferred);
  auto race = asio::experimental::make_parallel_group(std::move(to_its_end), timer.async_wait(asio::deferred));
  auto [order, failure, texts, timer_ec] =
      co_await race.async_wait(asio::experimental::wait_for_one(), asio::use_awaitable);

  const bool late = order[0] == 1 && !timer_ec;
  const auto outer = co_await asio::this_coro::cancellation_state;
  const bool cancelled = outer.cancelled() != asio::cancellation_type::none;
  // The process is ended and reaped in every case.
  co_await asio::this_coro::throw_if_cancelled(false);
  if (late || cancelled || failure) ::kill(-child.pid(), SIGKILL);
  ExitStatus status = co_await uninterrupted(child.wait());
  co_await asio::this_coro::throw_if_cancelled(true);
  if (cancelled) throw boost::system::system_error(asio::error::operation_aborted);
  if (late) throw Error(Errc::timed_out, command.argv[0] + " took too long");
  if (failure) std::rethrow_exception(failure);
  Finished finished{status, std::move(texts.first), std::move(texts.second)};
  co_return finished;
}

std::optional<std::filesystem::path> find_program(std::string_view name) {
  auto runnable = [](const std::filesystem::path& path) {
    std::error_code unreadable;  // a PATH may name folders of others
    return std::filesystem::is_regular_file(path, unreadable) && ::access(path.c_str(), X_OK) == 0;
  };
  if (name.find('/') != std::string_view::npos) {
    std::filesystem::path path(name);
    return runnable(path) ? std::optional(path) : std::nullopt;
  }
  const char* set = std::getenv("PATH");
  std::string_view rest = set != nullptr ? set : "";
  // Where package managers put programs that a service's or a GUI's short PATH does not name.
  const std::string extended =
      std::string(rest) + ":/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin:/opt/homebrew/bin";
  rest = extended;
  while (!rest.empty()) {
    const auto colon = rest.find(':');
    const std::string_view directory = rest.substr(0, colon);
    rest = colon == std::string_view::npos ? std::string_view{} : rest.substr(colon + 1);
    if (directory.empty()) continue;
    std::filesystem::path path = std::filesystem::path(directory) / name;
    if (runnable(path)) return path;
  }
  return std::nullopt;
}

}  // namespace cl
