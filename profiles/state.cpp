#include "profiles/state.hpp"

#include <boost/json.hpp>

#include "profiles/keys.hpp"
#include "src/base/file.hpp"
#include "src/base/printable.hpp"

namespace cl {
namespace json = boost::json;
namespace {

constexpr int format = 1;

json::object to_json(const AgentState& agent) {
  return json::object{{"problem", agent.problem},      {"losses", agent.losses},     {"loss", agent.loss},
                      {"lost_at", agent.lost_at},      {"refusals", agent.refusals}, {"refusal", agent.refusal},
                      {"refused_at", agent.refused_at}};
}

AgentState agent_from_json(const json::object& object) {
  AgentState agent;
  agent.problem = object.at("problem").as_string();
  agent.losses = object.at("losses").to_number<int>();
  agent.loss = object.at("loss").as_string();
  agent.lost_at = object.at("lost_at").to_number<std::int64_t>();
  agent.refusals = object.at("refusals").to_number<int>();
  agent.refusal = object.at("refusal").as_string();
  agent.refused_at = object.at("refused_at").to_number<std::int64_t>();
  return agent;
}

json::array to_json(const std::vector<HostSocketState>& sockets) {
  json::array all;
  for (const HostSocketState& one : sockets)
    all.push_back(json::object{{"sources", json::array(one.sources.begin(), one.sources.end())},
                               {"host", one.host},
                               {"guest", one.guest},
                               {"in_share", one.in_share},
                               {"problem", one.problem}});
  return all;
}

std::vector<HostSocketState> host_sockets_from_json(const json::array& array) {
  std::vector<HostSocketState> all;
  for (const json::value& one : array) {
    HostSocketState& socket = all.emplace_back();
    for (const json::value& source : one.at("sources").as_array()) socket.sources.emplace_back(source.as_string());
    socket.host = one.at("host").as_string();
    socket.guest = one.at("guest").as_string();
    socket.in_share = one.at("in_share").as_bool();
    socket.problem = one.at("problem").as_string();
  }
  return all;
}

/// Some of it are words of the guest and of clients, and bytes that are no UTF-8 would make all of it unreadable.
void make_utf8(json::value& value) {
  if (value.is_object()) {
    for (auto& member : value.get_object()) make_utf8(member.value());
  } else if (value.is_array()) {
    for (json::value& item : value.get_array()) make_utf8(item);
  } else if (value.is_string() && !is_utf8(value.get_string())) {
    value = printable(value.get_string(), true);
  }
}

json::object to_json(const State& state) {
  json::object settings;
  for (const Key& key : keys()) settings[key.name] = key.get(state.profile);
  json::object environment;
  for (const auto& [name, value] : state.docker_environment) environment[name] = value;
  json::array port_problems(state.port_problems.begin(), state.port_problems.end());
  json::array platforms;
  for (const PlatformState& one : state.platforms)
    platforms.push_back(json::object{
        {"platform", one.platform}, {"translator", one.translator}, {"works", one.works}, {"why", one.why}});
  json::array awake;
  for (const AwakeReason& one : state.awake)
    awake.push_back(json::object{{"what", one.what}, {"since", one.since}, {"last", one.last}});
  json::array egress_refusals;
  for (const EgressRefusal& one : state.egress_refusals)
    egress_refusals.push_back(json::object{{"what", one.what}, {"count", one.count}, {"last", one.last}});
  return json::object{{"format", format},
                      {"phase", state.phase},
                      {"since", state.since},
                      {"reason", state.reason},
                      {"settings", settings},
                      {"arch", state.arch},
                      {"driver", state.driver},
                      {"accel", state.accel},
                      {"accel_reason", state.accel_reason},
                      {"image", state.image},
                      {"image_digest", state.image_digest},
                      {"data_owner", state.data_owner},
                      {"data_ready", state.data_ready},
                      {"machine_pid", state.machine_pid},
                      {"daemon_crashes", state.daemon_crashes},
                      {"last_crash", state.last_crash},
                      {"fingerprint", state.fingerprint},
                      {"asleep", state.asleep},
                      {"not_saved", state.not_saved},
                      {"runtime_version", state.runtime_version},
                      {"runtime_problem", state.runtime_problem},
                      {"context", state.context},
                      {"previous_context", state.previous_context},
                      {"client_proxies", state.client_proxies},
                      {"port_problems", port_problems},
                      {"forwards", to_json(state.forwards)},
                      {"shares", to_json(state.shares)},
                      {"share_devices", to_json(state.share_devices)},
                      {"event_folders", state.event_folders},
                      {"event_precision", state.event_precision},
                      {"event_problem", state.event_problem},
                      {"host_sockets", to_json(state.host_sockets)},
                      {"ssh_agent", state.ssh_agent},
                      {"agent", to_json(state.agent)},
                      {"egress_refusals", egress_refusals},
                      {"awake", awake},
                      {"rosetta", state.rosetta},
                      {"rosetta_why_not", state.rosetta_why_not},
                      {"platforms", platforms},
                      {"docker_environment", environment}};
}

State from_json(const json::object& object) {
  State state;
  // A key that an older program did not write yet has its default.
  auto text = [&](std::string_view name, std::string& into) {
    if (const json::value* value = object.if_contains(name)) into = value->as_string();
  };
  if (object.at("format").to_number<int>() != format)
    throw std::runtime_error("written by another version of colima-like");
  text("phase", state.phase);
  state.since = object.at("since").to_number<std::int64_t>();
  text("reason", state.reason);
  for (const auto& [name, value] : object.at("settings").as_object())
    if (const Key* key = find_key(name))
      if (const auto wrong = key->set(state.profile, std::string_view(value.as_string())))
        throw std::runtime_error(std::string(name) + " " + *wrong);
  text("arch", state.arch);
  text("driver", state.driver);
  text("accel", state.accel);
  text("accel_reason", state.accel_reason);
  text("image", state.image);
  text("image_digest", state.image_digest);
  text("data_owner", state.data_owner);
  const json::value* ready = object.if_contains("data_ready");
  state.data_ready = ready != nullptr ? ready->as_bool() : !state.data_owner.empty();
  state.machine_pid = object.at("machine_pid").to_number<int>();
  if (const json::value* crashes = object.if_contains("daemon_crashes"))
    state.daemon_crashes = crashes->to_number<int>();
  text("last_crash", state.last_crash);
  text("fingerprint", state.fingerprint);
  if (const json::value* asleep = object.if_contains("asleep")) state.asleep = asleep->as_bool();
  text("not_saved", state.not_saved);
  text("docker_version", state.runtime_version);  // of an older program
  text("runtime_version", state.runtime_version);
  text("runtime_problem", state.runtime_problem);
  text("context", state.context);
  text("previous_context", state.previous_context);
  text("client_proxies", state.client_proxies);
  if (const json::value* problems = object.if_contains("port_problems"))
    for (const json::value& line : problems->as_array()) state.port_problems.emplace_back(line.as_string());
  if (const json::value* forwards = object.if_contains("forwards"))
    state.forwards = forwards_from_json(forwards->as_array());
  if (const json::value* shares = object.if_contains("shares")) state.shares = shares_from_json(shares->as_array());
  if (const json::value* devices = object.if_contains("share_devices"))
    state.share_devices = shares_from_json(devices->as_array());
  if (const json::value* folders = object.if_contains("event_folders")) state.event_folders = folders->to_number<int>();
  text("event_precision", state.event_precision);
  text("event_problem", state.event_problem);
  if (const json::value* sockets = object.if_contains("host_sockets"))
    state.host_sockets = host_sockets_from_json(sockets->as_array());
  text("ssh_agent", state.ssh_agent);
  if (const json::value* agent = object.if_contains("agent")) state.agent = agent_from_json(agent->as_object());
  if (const json::value* refusals = object.if_contains("egress_refusals"))
    for (const json::value& one : refusals->as_array())
      state.egress_refusals.push_back({std::string(one.at("what").as_string()),
                                       one.at("count").to_number<std::int64_t>(),
                                       one.at("last").to_number<std::int64_t>()});
  if (const json::value* awake = object.if_contains("awake"))
    for (const json::value& one : awake->as_array())
      state.awake.push_back({std::string(one.at("what").as_string()), one.at("since").to_number<std::int64_t>(),
                             one.at("last").to_number<std::int64_t>()});
  if (const json::value* rosetta = object.if_contains("rosetta")) state.rosetta = rosetta->as_bool();
  text("rosetta_why_not", state.rosetta_why_not);
  if (const json::value* platforms = object.if_contains("platforms"))
    for (const json::value& one : platforms->as_array())
      state.platforms.push_back({std::string(one.at("platform").as_string()),
                                 std::string(one.at("translator").as_string()), one.at("works").as_bool(),
                                 std::string(one.at("why").as_string())});
  for (const auto& [name, value] : object.at("docker_environment").as_object())
    state.docker_environment[name] = value.as_string();
  return state;
}

}  // namespace

std::optional<State> load_state(const ProfilePaths& paths) {
  const auto bytes = read_file_if_exists(paths.state);
  if (!bytes) return std::nullopt;
  try {
    return state_from_text(*bytes);
  } catch (const std::exception& error) {
    throw Error(Errc::io, "the state file of profile '" + paths.name + "' cannot be read",
                "move " + paths.state.string() + " away and start again; containers' data is not in it")
        .because(error.what());
  }
}

std::string state_text(const State& state) {
  json::value text = to_json(state);
  make_utf8(text);
  return json::serialize(text) + "\n";
}

State state_from_text(const std::string& text) { return from_json(json::parse(text).as_object()); }

void save_state(const FileLock&, const ProfilePaths& paths, const State& state) { write_state(paths, state); }

void write_state(const ProfilePaths& paths, const State& state) { write_atomically(paths.state, state_text(state)); }

Observed observe(const ProfilePaths& paths) {
  Observed seen;
  seen.exists = file_exists(paths.config);
  seen.machine_alive = FileLock::is_held(paths.machine_lock);
  seen.daemon_alive = FileLock::is_held(paths.lock);
  seen.unsaved = seen.daemon_alive && FileLock::is_held(paths.run_directory);
  if (auto saved = load_state(paths)) seen.state = std::move(*saved);

  State& state = seen.state;
  const bool should_run = state.phase == "running" || state.phase == "degraded";
  const bool saved = !seen.machine_alive && file_exists(paths.saved_marker);
  if (saved) seen.saved_bytes = allocated_bytes(paths.saved_directory / "memory");
  if (saved && (!seen.daemon_alive || seen.unsaved)) {
    state.phase = "suspended";
    state.reason.clear();
  } else if (seen.machine_alive && !seen.daemon_alive) {
    state.phase = "degraded";
    state.reason = "its daemon is gone; the machine and its containers run on, and 'start' brings the daemon back";
  } else if (!seen.machine_alive && should_run) {
    state.phase = "stopped";
    state.reason = "the machine ended unexpectedly";
  } else if (!seen.machine_alive && !seen.daemon_alive && state.phase != "stopped") {
    state.reason = state.phase == "starting" ? "a start was interrupted" : "";
    state.phase = "stopped";
  }
  return seen;
}

std::string_view shown_phase(const State& state) noexcept {
  return state.phase == "suspended" && state.asleep ? std::string_view("sleeping") : std::string_view(state.phase);
}

}  // namespace cl
