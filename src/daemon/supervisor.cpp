#include "src/daemon/supervisor.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <ctime>

namespace cl {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr auto first_pause = 100ms;
constexpr auto longest_pause = std::chrono::milliseconds(1min);
constexpr auto long_life = 1min;  // whoever lived that long has not crashed at once again

volatile std::sig_atomic_t told_to_end = 0;
volatile std::sig_atomic_t child = 0;

void pass_on(int signal) {
  told_to_end = 1;
  if (child > 0) ::kill(static_cast<pid_t>(child), signal);
}

void set_handler(void (*handler)(int)) {
  struct sigaction action{};
  action.sa_handler = handler;
  ::sigaction(SIGTERM, &action, nullptr);
  ::sigaction(SIGINT, &action, nullptr);
}

int wait_for_child() {
  int status = 0;
  while (::waitpid(static_cast<pid_t>(child), &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

std::string text_of(int status) {
  if (WIFSIGNALED(status)) return "it was killed by signal " + std::to_string(WTERMSIG(status));
  return "it could not go on; its log says why";
}

void pause_for(std::chrono::milliseconds time) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(time);
  timespec left{static_cast<std::time_t>(seconds.count()),
                static_cast<long>(std::chrono::nanoseconds(time - seconds).count())};
  while (told_to_end == 0 && ::nanosleep(&left, &left) != 0 && errno == EINTR) {
  }
}

}  // namespace

int supervise(const std::function<int(const Crashes&)>& daemon, const std::function<void()>& forked,
              const std::function<bool()>& worth_it) {
  Crashes crashes;
  auto pause = first_pause;
  set_handler(&pass_on);
  for (;;) {
    const auto began = Clock::now();
    const pid_t pid = ::fork();
    if (pid == 0) {
      set_handler(SIG_DFL);
      ::_exit(daemon(crashes));
    }
    if (pid < 0) return daemon(crashes);  // without a watcher
    child = pid;
    forked();
    if (told_to_end != 0) ::kill(pid, SIGTERM);  // told between two children
    const int status = wait_for_child();
    child = 0;
    const bool died = WIFSIGNALED(status) || (WIFEXITED(status) && WEXITSTATUS(status) == restart_exit_code);
    if (!died) return WEXITSTATUS(status);
    if (told_to_end != 0 || !worth_it()) return 1;
    if (Clock::now() - began > long_life) pause = first_pause;
    ++crashes.count;
    crashes.last = text_of(status);
    pause_for(pause);
    if (told_to_end != 0) return 1;
    pause = std::min(2 * pause, longest_pause);
  }
}

}  // namespace cl
