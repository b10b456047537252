#include <fmt/format.h>
#include <signal.h>

#include <boost/asio/signal_set.hpp>
#include <iostream>

#include "profiles/state.hpp"
#include "src/app/autostart.hpp"
#include "src/cli/command.hpp"
#include "src/cli/launch.hpp"
#include "src/cli/output.hpp"

namespace cl::cli {
namespace {

asio::awaitable<int> enable(const Invocation& call) {
  const ProfilePaths paths = profile_paths(call.home, call.profile);
  require_profile(paths);
  const bool runs = observe(paths).machine_alive;
  const std::string note = co_await enable_autostart(call.home, paths.name, runs);
  if (!note.empty()) print_note(note);
  const Autostart seen = observe_autostart(call.home, paths.name);
  print_line(fmt::format("'{}' starts {}, and is suspended when {} ends", paths.name,
                         seen.at_boot ? "at boot" : "when you log in",
                         seen.at_boot ? "this computer" : "your last session"));
  if (seen.by == "systemd" && !seen.at_boot)
    print_note("'loginctl enable-linger' has it start at boot, and run on when you log out");
  co_return 0;
}

asio::awaitable<int> disable(const Invocation& call) {
  const bool removed = co_await disable_autostart(call.home, profile_paths(call.home, call.profile).name);
  const std::string_view what =
      removed ? "does not start by itself any more; what runs goes on" : "does not start by itself: nothing to do";
  print_line(fmt::format("'{}' {}", call.profile, what));
  co_return 0;
}

asio::awaitable<int> wait_for_the_end() {
  asio::signal_set signals(co_await asio::this_coro::executor, SIGINT, SIGTERM);
  co_await signals.async_wait(asio::use_awaitable);
  co_return 0;
}

}  // namespace

int run_autostart_enable(const Invocation& call) { return run_async(enable(call)); }
int run_autostart_disable(const Invocation& call) { return run_async(disable(call)); }

int run_autostart_status(const Invocation& call) {
  const Autostart seen = observe_autostart(call.home, profile_paths(call.home, call.profile).name);
  if (call.json) {
    const auto if_enabled = [&](std::string text) {
      return seen.enabled ? boost::json::value(text) : boost::json::value();
    };
    const auto if_wrong = [&](std::string text) {
      return seen.problem.empty() ? boost::json::value() : boost::json::value(text);
    };
    print_json(boost::json::object{{"profile", call.profile},
                                   {"enabled", seen.enabled},
                                   {"by", seen.by},
                                   {"when", if_enabled(seen.at_boot ? "boot" : "login")},
                                   {"file", if_enabled(seen.file.string())},
                                   {"program", if_enabled(seen.job.program.string())},
                                   {"problem", if_wrong(seen.problem)},
                                   {"remedy", if_wrong(seen.remedy)}});
    return 0;
  }
  print_line(fmt::format("'{}' {}", call.profile,
                         !seen.enabled  ? "does not start by itself"
                         : seen.at_boot ? "starts at boot, by " + seen.by
                                        : "starts at the first login, by " + seen.by));
  if (!seen.problem.empty()) {
    print_line(seen.problem);
    print_line("  try " + seen.remedy);
  }
  return 0;
}

int run_autostart_end(const Invocation& call) {
  int code = 0;
  try {
    code = run_suspend(call);
  } catch (const Error& error) {
    print_error(error);
    code = exit_code(error.code());
  }
  // One that is only paused, since its hypervisor cannot save it, would end with the session as by a power cut.
  if (observe(profile_paths(call.home, call.profile)).machine_alive) return run_stop(call);
  return code;
}

int run_autostart_hold(const Invocation& call) {
  if (const int code = run_start(call); code != 0) return code;
  run_async(wait_for_the_end());
  return run_autostart_end(call);
}

}  // namespace cl::cli
