#include <boost/json/serialize.hpp>
#include <ctime>

#include "profiles/keys.hpp"
#include "profiles/runtime.hpp"
#include "profiles/shares.hpp"
#include "profiles/state.hpp"
#include "src/base/json.hpp"
#include "src/cli/command.hpp"
#include "src/cli/launch.hpp"
#include "src/cli/output.hpp"
#include "src/cli/summary.hpp"

namespace cl::cli {

namespace json = boost::json;

namespace {

/// What the daemon knows of each, and whether its folder is there at this moment.
json::array describe_shares(const std::vector<ShareState>& shares) {
  json::array all;
  for (const ShareState& share : shares) {
    const std::string gone = folder_problem(share.location);
    const std::string problem = gone.empty() ? share.problem : gone;
    json::object one{{"location", share.written},
                     {"mount_point", share.mount_point},
                     {"read_only", share.read_only},
                     {"type", share.type},
                     {"state", problem.empty() ? "mounted"
                               : gone.empty()  ? "failed"
                                               : "folder missing"}};
    if (!share.owner.empty()) one["owner"] = share.owner;
    if (!share.why.empty()) one["why"] = share.why;
    if (!problem.empty()) one["problem"] = problem;
    all.push_back(std::move(one));
  }
  return all;
}

json::array describe_sockets(const State& state) {
  json::array all;
  for (const HostSocketState& socket : state.host_sockets) {
    const bool agent = socket.host.empty();
    json::object one{{"path", socket.sources.empty() ? socket.guest : socket.sources.front()},
                     {"host", agent ? state.ssh_agent : socket.host},
                     {"ssh_agent", agent}};
    if (!socket.problem.empty()) one["problem"] = socket.problem;
    all.push_back(std::move(one));
  }
  return all;
}

void print_socket(const json::object& socket) {
  const std::string path(socket.at("path").as_string()), host(socket.at("host").as_string());
  const json::value* problem = socket.if_contains("problem");
  print_line("socket   " + path + " of containers is " +
             (socket.at("ssh_agent").as_bool() ? "the ssh agent at " + host
              : host == path                   ? "this computer's"
                                               : host) +
             (problem == nullptr ? "" : ": NOT THERE: " + std::string(problem->as_string())));
}

/// Nothing for one that is well: one that is killed once and is back is, too.
json::object describe_agent(const AgentState& agent) {
  constexpr int many = 3;
  constexpr std::int64_t lately = 3600;
  const std::int64_t now = std::time(nullptr);
  auto entry = [](int count, std::int64_t at, const std::string& reason) {
    return json::object{{"count", count}, {"at", at}, {"reason", reason}};
  };
  json::object out;
  if (!agent.problem.empty()) out["problem"] = agent.problem;
  if (agent.losses >= many && now - agent.lost_at < lately)
    out["losses"] = entry(agent.losses, agent.lost_at, agent.loss);
  if (agent.refusals > 0 && now - agent.refused_at < lately)
    out["refusals"] = entry(agent.refusals, agent.refused_at, agent.refusal);
  return out;
}

void print_agent(const json::object& agent) {
  auto times = [&agent](std::string_view key, const std::string& what) {
    const json::value* found = agent.if_contains(key);
    if (found == nullptr) return;
    const std::string count = json::serialize(found->at("count"));
    print_line("agent    " + what + " " + (count == "1" ? "once" : count + " times") + "; the last time " +
               ago(found->at("at").as_int64()) + " ago: " + std::string(found->at("reason").as_string()));
  };
  if (const json::value* problem = agent.if_contains("problem"))
    print_line("agent    does not run, and connections go by SSH: " + std::string(problem->as_string()));
  times("losses", "was lost");
  times("refusals", "has turned work away");
  if (!agent.empty())
    print_line("try      colima-like logs, and: colima-like ssh -- journalctl -u 'colima-like-agent*'");
}

json::array describe_awake(const std::vector<AwakeReason>& reasons) {
  json::array all;
  for (const AwakeReason& one : reasons)
    all.push_back(json::object{{"what", one.what},
                               {"since", one.since},
                               {"last", one.last == 0 ? json::value(nullptr) : json::value(one.last)}});
  return all;
}

void print_awake(const json::array& reasons) {
  constexpr std::int64_t long_enough = 60;
  for (const json::value& value : reasons) {
    std::string text = "awake    " + std::string(value.at("what").as_string());
    const std::int64_t since = value.at("since").as_int64();
    if (const json::value& last = value.at("last"); last.is_null()) {
      text += ", for " + ago(since);
    } else {
      text += " " + ago(last.as_int64()) + " ago";
      if (last.as_int64() - since >= long_enough) text += ", again and again for " + ago(since);
    }
    print_line(text);
  }
}

json::array describe_refusals(const std::vector<EgressRefusal>& refusals) {
  json::array all;
  for (const EgressRefusal& one : refusals)
    all.push_back(json::object{{"what", one.what}, {"count", one.count}, {"last", one.last}});
  return all;
}

/// The last few: all of them are in --json.
void print_refusals(const json::array& refusals) {
  constexpr std::size_t most = 5;
  for (std::size_t i = 0; i < refusals.size() && i < most; ++i) {
    const json::value& one = refusals[i];
    const std::int64_t count = one.at("count").as_int64();
    print_line("refused  " + std::string(one.at("what").as_string()) + " (" + ago(one.at("last").as_int64()) + " ago" +
               (count > 1 ? ", " + std::to_string(count) + " times)" : ")"));
  }
  if (refusals.size() > most)
    print_line("refused  " + std::to_string(refusals.size() - most) + " more: colima-like status --json");
}

void print_forwards(const json::array& forwards) {
  for (const json::value& value : forwards) {
    const json::object& one = value.as_object();
    const bool reverse = one.at("direction").as_string() == "out_of_machine";
    const std::string state(text_at(one, "state")), problem(text_at(one, "problem"));
    print_line("forward  " + std::string(text_at(one, "from")) + (reverse ? " in the machine" : "") + " to " +
               std::string(text_at(one, "to")) + (reverse ? " on this host" : " in the machine") +
               (one.at("protocol").as_string() == "udp" ? ", udp" : "") +
               (!problem.empty()     ? ": NOT OPEN: " + problem
                : state == "waiting" ? ": opened when the machine can be reached"
                                     : ""));
  }
}

/// While the daemon cannot write what it knows (a full disk), it is asked; one that does not answer keeps nobody
/// waiting.
asio::awaitable<int> ask_daemon(const ProfilePaths& paths, State& state, std::string& unsaved) {
  constexpr auto patience = std::chrono::seconds(2);
  auto ask = [](const ProfilePaths& of) -> asio::awaitable<rpc::Known> {
    rpc::Connection daemon = co_await reach_daemon(of, false);
    rpc::Describe request;
    co_return co_await call_with_progress(daemon, request);
  };
  try {
    const rpc::Known known = co_await with_timeout(patience, "the daemon's answer", ask(paths));
    state = state_from_text(known.state);
    unsaved = known.unsaved;
  } catch (const std::exception& error) {
    unsaved = std::string("what is shown may be old: ") + error.what();
  }
  co_return 0;
}

}  // namespace

json::object describe(const Home& home, const std::string& name) {
  const ProfilePaths paths = profile_paths(home, name);
  json::object out{{"name", name}};
  Observed seen;
  try {
    require_profile(paths);
  } catch (const Error& error) {
    out["state"] = "absent";
    out["error"] = error.what();
    out["remedy"] = error.remedy();
    return out;
  }
  try {
    seen = observe(paths);
    if (!seen.machine_alive && !seen.daemon_alive) seen.state.profile = load_profile(paths, {});
  } catch (const Error& error) {
    out["state"] = "broken";
    out["error"] = one_line(error);
    out["remedy"] = error.remedy();
    return out;
  }
  std::string unsaved;
  if (seen.unsaved) run_async(ask_daemon(paths, seen.state, unsaved));
  const State& state = seen.state;
  out["state"] = state.phase;
  if (!unsaved.empty()) out["unsaved"] = unsaved;
  out["since"] = state.since == 0 ? json::value(nullptr) : json::value(state.since);
  const bool own_machine = state.profile.remote_hosts.empty();
  if (!own_machine) out["host"] = state.profile.remote_hosts.front();
  if (own_machine || !state.arch.empty())
    out["arch"] = state.arch.empty() ? resolved_arch(state.profile, host_facts()) : state.arch;
  out["runtime"] = state.profile.runtime;
  if (own_machine) {
    out["cpus"] = state.profile.cpus;
    out["memory"] = state.profile.memory.count();
    out["disk"] = state.profile.disk.count();
  }
  if (!state.reason.empty()) out["error"] = state.reason;
  if (state.phase == "suspended" && seen.machine_alive) out["in_memory"] = true;
  if (state.phase == "suspended" && !seen.machine_alive) out["saved_bytes"] = seen.saved_bytes;
  if (state.phase == "suspended") out["state"] = shown_phase(state);
  if (!seen.machine_alive && state.phase != "suspended") return out;
  out["driver"] = state.driver;
  if (own_machine) {
    out["accel"] = state.accel;
    out["accel_reason"] = state.accel_reason;
    out["image"] = state.image;
  }
  if (own_machine && seen.machine_alive) out["pid"] = state.machine_pid;
  if (state.daemon_crashes > 0)
    out["daemon_restarts"] = json::object{{"count", state.daemon_crashes}, {"reason", state.last_crash}};
  if (!state.port_problems.empty())
    out["port_problems"] = json::array(state.port_problems.begin(), state.port_problems.end());
  json::array forwards;
  for (const ForwardState& one : state.forwards) forwards.push_back(describe_forward(one));
  if (!forwards.empty()) out["forwards"] = std::move(forwards);
  if (!state.shares.empty()) out["shares"] = describe_shares(state.shares);
  if (!state.egress_refusals.empty()) out["refused"] = describe_refusals(state.egress_refusals);
  if (state.profile.host_sockets && !state.host_sockets.empty()) out["host_sockets"] = describe_sockets(state);
  if (state.phase == "running" && !state.awake.empty()) out["awake"] = describe_awake(state.awake);
  if (json::object agent = describe_agent(state.agent); !agent.empty()) out["agent"] = std::move(agent);
  if (state.event_folders > 0 || !state.event_problem.empty()) {
    json::object events{{"folders", state.event_folders}};
    if (!state.event_precision.empty()) events["precision"] = state.event_precision;
    if (!state.event_problem.empty()) events["problem"] = state.event_problem;
    out["file_events"] = events;
  }
  json::array platforms;
  for (const PlatformState& one : state.platforms) {
    json::object platform{{"platform", one.platform}, {"translator", one.translator}, {"works", one.works}};
    if (!one.why.empty()) platform["why"] = one.why;
    platforms.push_back(std::move(platform));
  }
  if (!platforms.empty()) out["platforms"] = std::move(platforms);
  const Runtime& runtime = runtime_of(state.profile);
  if (runtime.title.empty()) return out;
  json::object engine{{"socket", host_socket(runtime, paths).string()}};
  if (!state.runtime_version.empty()) engine["version"] = state.runtime_version;
  if (state.phase == "running" && !state.runtime_problem.empty()) engine["problem"] = state.runtime_problem;
  if (runtime.speaks_docker && !state.context.empty()) engine["context"] = state.context;
  out[runtime.speaks_docker ? "docker" : "containerd"] = engine;  // whose API is spoken there
  return out;
}

std::string platform_text(const json::object& platform) {
  std::string text(platform.at("platform").as_string());
  text += ": ";
  text += std::string_view(platform.at("translator").as_string());
  if (!platform.at("works").as_bool()) text += ", does not work";
  if (const json::value* why = platform.if_contains("why")) text += " (" + std::string(why->as_string()) + ")";
  return text;
}

int run_status(const Invocation& call) {
  const ProfilePaths paths = profile_paths(call.home, call.profile);
  if (!call.json) require_profile(paths);
  const json::object status = describe(call.home, call.profile);
  const std::string_view state = status.at("state").as_string();
  if (call.json) {
    print_json(status);
  } else {
    auto line = [](std::string_view name, std::string_view value) { print_line(std::string(name).append(value)); };
    auto text = [](const json::object& from, std::string_view key) { return std::string(text_at(from, key)); };
    const json::value* since = status.if_contains("since");
    const bool dated = since != nullptr && since->is_int64();
    line("profile  ", text(status, "name"));
    line("state    ", std::string(state) + (dated ? " for " + ago(since->get_int64()) : ""));
    if (const std::string unsaved = text(status, "unsaved"); !unsaved.empty())
      line("unsaved  ", unsaved + "; it is written as soon as that works");
    if (const json::value* restarts = status.if_contains("daemon_restarts"))
      line("daemon   ", "came back by itself " + json::serialize(restarts->at("count")) + " times; the last time " +
                            text(restarts->as_object(), "reason"));
    if (const json::value* saved = status.if_contains("saved_bytes"))
      line("saved    ",
           ByteSize::bytes(saved->to_number<std::uint64_t>()).str() + " on disk; any use of Docker resumes it");
    if (status.contains("in_memory")) line("saved    ", "no, its memory stays in use; any use of Docker resumes it");
    if (const std::string error = text(status, "error"); !error.empty()) line("because  ", error);
    if (const std::string remedy = text(status, "remedy"); !remedy.empty()) line("try      ", remedy);
    if (const std::string host = text(status, "host"); !host.empty())
      line("host     ", host + (status.contains("arch") ? ", " + text(status, "arch") : ""));
    if (const json::value* cpus = status.if_contains("cpus"))
      line("machine  ", text(status, "arch") + ", " + json::serialize(*cpus) + " CPUs, " +
                            ByteSize::bytes(status.at("memory").to_number<std::uint64_t>()).str() +
                            " memory, data up to " +
                            ByteSize::bytes(status.at("disk").to_number<std::uint64_t>()).str());
    if (const std::string driver = text(status, "driver"); !driver.empty()) {
      const std::string reason = text(status, "accel_reason");
      if (!status.contains("host"))
        line("driver   ", driver + ", " + text(status, "accel") + (reason.empty() ? "" : " (" + reason + ")"));
      if (!status.contains("host")) line("image    ", text(status, "image"));
      const json::value* found = status.if_contains("docker");
      if (found == nullptr) found = status.if_contains("containerd");
      const json::object engine = found != nullptr ? found->as_object() : json::object{};
      const std::string sick = text(engine, "problem");
      line("runtime  ", text(status, "runtime") + (engine.contains("version") ? " " + text(engine, "version") : "") +
                            (sick.empty() ? "" : ": DOES NOT RUN: " + sick));
      if (!sick.empty()) line("try      ", "colima-like ssh -- journalctl -u " + sick.substr(0, sick.find(' ')));
      if (found != nullptr) line("socket   ", "unix://" + text(engine, "socket"));
      if (const std::string context = text(engine, "context"); !context.empty()) line("context  ", context);
      if (const json::value* awake = status.if_contains("awake")) print_awake(awake->as_array());
      if (const json::value* shares = status.if_contains("shares"))
        for (const json::value& value : shares->as_array()) {
          const json::object& share = value.as_object();
          const std::string from = text(share, "location"), at = text(share, "mount_point");
          const std::string why = text(share, "why"), problem = text(share, "problem");
          const std::string type = text(share, "type");  // none was chosen for a folder that is not there
          line("share    ",
               from + (at == from ? "" : " at " + at) + (share.at("read_only").as_bool() ? ", read-only" : "") +
                   (share.contains("owner") ? ", as " + text(share, "owner") : "") + (type.empty() ? "" : ", " + type) +
                   (why.empty() ? "" : " (" + why + ")") + (problem.empty() ? "" : ": NOT THERE: " + problem));
        }
      if (const json::value* sockets = status.if_contains("host_sockets"))
        for (const json::value& one : sockets->as_array()) print_socket(one.as_object());
      if (const json::value* forwards = status.if_contains("forwards")) print_forwards(forwards->as_array());
      if (const json::value* events = status.if_contains("file_events")) {
        const json::object& told = events->as_object();
        line("events   ", json::serialize(told.at("folders")) + " shared folders watched for containers" +
                              (told.contains("precision") ? " (" + text(told, "precision") + ")" : ""));
        if (const std::string problem = text(told, "problem"); !problem.empty()) line("events   ", problem);
      }
      if (const json::value* agent = status.if_contains("agent")) print_agent(agent->as_object());
      if (const json::value* refused = status.if_contains("refused")) print_refusals(refused->as_array());
      if (const json::value* platforms = status.if_contains("platforms"))
        for (const json::value& one : platforms->as_array()) line("platform ", platform_text(one.as_object()));
      if (const json::value* problems = status.if_contains("port_problems")) {
        for (const json::value& problem : problems->as_array()) line("port     ", std::string(problem.as_string()));
        line("try      ", "colima-like ports");
      }
    }
  }
  if (state == "absent") return exit_code(Errc::not_found);
  if (state == "broken") return exit_code(Errc::internal);
  return state == "stopped" ? exit_code(Errc::not_running) : 0;
}

}  // namespace cl::cli
