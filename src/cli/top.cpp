#include <fmt/format.h>
#include <signal.h>

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <ctime>
#include <iostream>

#include "profiles/runtime.hpp"
#include "src/app/engine.hpp"
#include "src/base/byte_size.hpp"
#include "src/cli/command.hpp"
#include "src/cli/launch.hpp"
#include "src/cli/output.hpp"
#include "src/cli/remote.hpp"
#include "src/cli/terminal.hpp"
#include "src/cli/usage.hpp"

namespace cl::cli {
namespace {

namespace json = boost::json;

constexpr auto interval = std::chrono::seconds(2);

using Names = std::map<std::string, std::string>;

std::string name_of(const Names& names, const std::string& id) {
  const auto found = names.find(id);
  return found == names.end() ? id.substr(0, 12) : found->second;
}

bool all_known(const Names& names, const UsageSample& sample) {
  for (const Usage& one : sample.containers)
    if (!names.contains(one.id)) return false;
  return true;
}

json::object describe_usage(const Usage& one) {
  return json::object{{"cpu_percent", std::stod(fmt::format("{:.1f}", one.cpu_percent))},
                      {"memory_bytes", one.memory},
                      {"received_bytes_per_second", one.received},
                      {"sent_bytes_per_second", one.sent}};
}

void print_json_line(const std::string& profile, const UsageSample& sample, const Names& names) {
  json::object line{{"time", std::time(nullptr)}, {"profile", profile}};
  json::object machine = describe_usage(sample.machine);
  machine["memory_total_bytes"] = sample.memory_total;
  line["machine"] = std::move(machine);
  json::array containers;
  for (const Usage& one : sample.containers) {
    json::object container = describe_usage(one);
    container["id"] = one.id;
    container["name"] = name_of(names, one.id);
    containers.push_back(std::move(container));
  }
  line["containers"] = std::move(containers);
  std::cout << json::serialize(line) << std::endl;
}

std::vector<std::string> row_of(const std::string& name, const Usage& one, const std::string& memory) {
  return {name, fmt::format("{:.1f} %", one.cpu_percent), memory, ByteSize::bytes(one.received).str() + "/s",
          ByteSize::bytes(one.sent).str() + "/s"};
}

void print_rows(const std::string& profile, const UsageSample& sample, const Names& names) {
  std::vector<std::vector<std::string>> rows{{"NAME", "CPU", "MEMORY", "IN", "OUT"}};
  rows.push_back(
      row_of("machine " + profile, sample.machine,
             ByteSize::bytes(sample.machine.memory).str() + " of " + ByteSize::bytes(sample.memory_total).str()));
  for (const Usage& one : sample.containers)
    rows.push_back(row_of(name_of(names, one.id), one, ByteSize::bytes(one.memory).str()));
  print_table(rows);
  std::cout << std::flush;
}

asio::awaitable<int> top(const Invocation& call) {
  const ProfilePaths paths = reachable(call.home, call.profile);
  const Runtime& runtime = runtime_of(observe(paths).state.profile);
  UsageSource source = co_await UsageSource::open(paths, interval);
  const bool redraw = !call.json && !call.once && draws_on_stdout();
  Names names;
  for (bool first = true;; first = false) {
    const auto sample = co_await source.next();
    if (!sample) break;
    if (runtime.speaks_docker && !all_known(names, *sample))
      names = co_await container_names(host_socket(runtime, paths));
    if (redraw) std::cout << "\033[H\033[J";
    if (!redraw && !call.json && !first) std::cout << '\n';
    if (call.json) {
      print_json_line(paths.name, *sample, names);
    } else {
      print_rows(paths.name, *sample, names);
    }
    if (!std::cout) co_return 128 + SIGPIPE;  // nobody reads it any more
    if (call.once) co_return 0;
  }
  throw Error(Errc::not_running, "the machine of profile '" + paths.name + "' has gone",
              "'colima-like status " + paths.name + "' shows its state");
}

}  // namespace

int run_top(const Invocation& call) { return run_async(top(call)); }

}  // namespace cl::cli
