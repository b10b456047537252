#include <boost/json/serialize.hpp>
#include <iostream>

#include "profiles/keys.hpp"
#include "profiles/state.hpp"
#include "src/cli/command.hpp"
#include "src/cli/output.hpp"
#include "src/cli/summary.hpp"

namespace cl::cli {

namespace json = boost::json;

json::object describe(const Home& home, const std::string& name) {
  const ProfilePaths paths = profile_paths(home, name);
  json::object out{{"name", name}};
  Observed seen;
  try {
    seen = observe(paths);
    if (!seen.machine_alive && !seen.daemon_alive) seen.state.profile = load_profile(paths, {});
  } catch (const Error& error) {
    out["state"] = "broken";
    out["error"] = one_line(error);
    out["remedy"] = error.remedy();
    return out;
  }
  const State& state = seen.state;
  out["state"] = state.phase;
  out["since"] = state.since == 0 ? json::value(nullptr) : json::value(state.since);
  out["arch"] = state.arch.empty() ? resolved_arch(state.profile, host_facts()) : state.arch;
  out["cpus"] = state.profile.cpus;
  out["memory"] = state.profile.memory.count();
  out["disk"] = state.profile.disk.count();
  if (!state.reason.empty()) out["error"] = state.reason;
  if (!seen.machine_alive) return out;
  out["driver"] = state.driver;
  out["accel"] = state.accel;
  out["accel_reason"] = state.accel_reason;
  out["image"] = state.image;
  out["pid"] = state.machine_pid;
  json::object docker{{"socket", paths.docker_socket.string()}};
  if (!state.docker_version.empty()) docker["version"] = state.docker_version;
  if (!state.context.empty()) docker["context"] = state.context;
  out["docker"] = docker;
  return out;
}

int run_status(const Invocation& call) {
  const json::object status = describe(call.home, call.profile);
  const std::string_view state = status.at("state").as_string();
  if (call.json) {
    print_json(status);
  } else {
    auto line = [](std::string_view name, const auto& value) { std::cout << name << value << '\n'; };
    auto text = [&](const json::object& from, std::string_view key) {
      const json::value* value = from.if_contains(key);
      return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
    };
    const json::value* since = status.if_contains("since");
    const bool dated = since != nullptr && since->is_int64();
    line("profile  ", text(status, "name"));
    line("state    ", std::string(state) + (dated ? " for " + ago(since->get_int64()) : ""));
    if (const std::string error = text(status, "error"); !error.empty()) line("because  ", error);
    if (const std::string remedy = text(status, "remedy"); !remedy.empty()) line("try      ", remedy);
    if (const json::value* cpus = status.if_contains("cpus"))
      line("machine  ", text(status, "arch") + ", " + json::serialize(*cpus) + " CPUs, " +
                            ByteSize::bytes(status.at("memory").to_number<std::uint64_t>()).str() +
                            " memory, data up to " +
                            ByteSize::bytes(status.at("disk").to_number<std::uint64_t>()).str());
    if (const std::string driver = text(status, "driver"); !driver.empty()) {
      const std::string reason = text(status, "accel_reason");
      line("driver   ", driver + ", " + text(status, "accel") + (reason.empty() ? "" : " (" + reason + ")"));
      line("image    ", text(status, "image"));
      const json::object& docker = status.at("docker").as_object();
      line("docker   ", text(docker, "version"));
      line("socket   ", "unix://" + text(docker, "socket"));
      if (const std::string context = text(docker, "context"); !context.empty()) line("context  ", context);
    }
  }
  if (state == "broken") return exit_code(Errc::internal);
  return state == "stopped" ? exit_code(Errc::not_running) : 0;
}

}  // namespace cl::cli
