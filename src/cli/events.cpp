#include <signal.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <ctime>
#include <iostream>

#include "profiles/state.hpp"
#include "src/cli/command.hpp"
#include "src/cli/launch.hpp"
#include "src/cli/output.hpp"
#include "src/cli/terminal.hpp"

namespace cl::cli {
namespace {

namespace json = boost::json;

std::string text_of(const json::object& event, std::string_view key) {
  const json::value* value = event.if_contains(key);
  if (value == nullptr) return {};
  return value->is_string() ? std::string(value->get_string()) : json::serialize(*value);
}

/// "16:40:02  port     open 0.0.0.0:8080/tcp of web".
std::string for_people(const json::object& event) {
  const auto at = static_cast<std::time_t>(event.contains("time") ? event.at("time").to_number<std::int64_t>() : 0);
  char clock[16] = "";
  std::tm parts{};
  ::localtime_r(&at, &parts);
  std::strftime(clock, sizeof clock, "%H:%M:%S", &parts);
  const std::string kind = text_of(event, "event"), problem = text_of(event, "problem") + text_of(event, "reason");
  std::string what;
  if (kind == "state") {
    what = text_of(event, "state");
  } else if (kind == "port") {
    what = text_of(event, "action") + " " + text_of(event, "address") + ":" + text_of(event, "port") + "/" +
           text_of(event, "protocol") + " of " + text_of(event, "container");
  } else if (kind == "forward") {
    what = text_of(event, "action") + " " + text_of(event, "forward");
  } else {
    what = text_of(event, "action") + " " + text_of(event, "location") + " at " + text_of(event, "mount_point");
  }
  return std::string(clock) + "  " + kind + std::string(kind.size() < 8 ? 8 - kind.size() : 1, ' ') + what +
         (problem.empty() ? "" : ": " + problem);
}

/// Prints an event as it came, or for people; keeps the last state that was told. False when nobody reads it any more.
bool print(const std::string& line, bool as_json, std::string& state) {
  boost::system::error_code ec;
  const json::value value = json::parse(line, ec);
  if (ec || !value.is_object())
    throw Error(Errc::protocol, "the daemon reported an event that cannot be understood",
                "'colima-like restart' starts the daemon of this program");
  const json::object& event = value.get_object();
  if (text_of(event, "event") == "state") state = text_of(event, "state");
  if (as_json) {
    std::cout << line << '\n';
  } else {
    print_line(for_people(event));
  }
  std::cout << std::flush;
  return static_cast<bool>(std::cout);
}

/// Until the daemon has nothing more to tell; false when nobody reads it any more.
asio::awaitable<bool> print_all(rpc::Connection& daemon, bool as_json, std::string& state) {
  std::string text;
  while (auto frame = co_await daemon.read_frame()) {
    text += frame->payload;
    for (auto end = text.find('\n'); end != std::string::npos; end = text.find('\n')) {
      if (!print(text.substr(0, end), as_json, state)) co_return false;
      text.erase(0, end + 1);
    }
  }
  co_return true;
}

asio::awaitable<int> events(const Invocation& call) {
  const ProfilePaths paths = profile_paths(call.home, call.profile);
  require_profile(paths);
  const Observed seen = observe(paths);
  if (!seen.machine_alive && !seen.daemon_alive && seen.state.phase != "suspended")
    throw Error(Errc::not_running, "profile '" + paths.name + "' is not running", "colima-like start " + paths.name);
  rpc::Connection daemon = co_await reach_daemon(paths, false);
  const rpc::Request request = rpc::Events{};
  co_await daemon.write_line(rpc::encode(request));
  rpc::Watcher watcher;
  watcher.on_note = [](const std::string& note) { print_note(note); };
  co_await rpc::await_answer(daemon, std::move(watcher));
  std::string state;
  const auto executor = co_await asio::this_coro::executor;
  auto race = asio::experimental::make_parallel_group(
      asio::co_spawn(executor, print_all(daemon, call.json, state), asio::deferred),
      asio::co_spawn(executor, reader_is_gone(), asio::deferred));
  const auto [order, failure, read, never] =
      co_await race.async_wait(asio::experimental::wait_for_one(), asio::use_awaitable);
  if (order[0] == 0 && failure) std::rethrow_exception(failure);
  if (order[0] == 1 || !read) co_return 128 + SIGPIPE;
  // The daemon has ended, perhaps before it could tell the last of it.
  const State last = observe(paths).state;
  const std::string now(shown_phase(last));
  if (now != state) {
    json::object event{
        {"event", "state"}, {"time", std::time(nullptr)}, {"profile", paths.name}, {"state", now}, {"before", state}};
    if (!last.reason.empty()) event["reason"] = last.reason;
    print(json::serialize(event), call.json, state);
  }
  co_return 0;
}

}  // namespace

int run_events(const Invocation& call) { return run_async(events(call)); }

}  // namespace cl::cli
