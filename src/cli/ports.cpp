#include <boost/json/array.hpp>

#include "profiles/state.hpp"
#include "src/base/byte_size.hpp"
#include "src/cli/command.hpp"
#include "src/cli/launch.hpp"
#include "src/cli/output.hpp"

namespace cl::cli {
namespace {

namespace json = boost::json;

void print_ports(const json::array& ports) {
  std::vector<std::vector<std::string>> rows{{"CONTAINER", "ADDRESS", "PORT", "STATE", "IN", "OUT", "SINCE"}};
  std::vector<std::string> notes;
  for (const json::value& one : ports) {
    const json::object& port = one.as_object();
    auto text = [&](std::string_view key) {
      const json::value* value = port.if_contains(key);
      return value != nullptr ? std::string(value->as_string()) : std::string();
    };
    auto bytes = [&](std::string_view key) { return ByteSize::bytes(port.at(key).to_number<std::uint64_t>()).str(); };
    const std::string number = std::to_string(port.at("port").to_number<int>()) + "/" + text("protocol");
    rows.push_back({text("container"), text("address"), number, text("state"), bytes("bytes_in"), bytes("bytes_out"),
                    ago(port.at("since").to_number<std::int64_t>())});
    if (const std::string problem = text("problem"); !problem.empty())
      notes.push_back(text("address") + " " + number + ": " + problem + "; " + text("remedy"));
  }
  print_table(rows);
  for (const std::string& note : notes) print_note(note);
}

asio::awaitable<int> ports(const Invocation& call) {
  const ProfilePaths paths = profile_paths(call.home, call.profile);
  require_profile(paths);
  const Observed seen = observe(paths);
  if (!seen.machine_alive)
    throw Error(Errc::not_running, "profile '" + paths.name + "' is not running", "colima-like start");
  rpc::Connection daemon = co_await reach_daemon(paths, false);
  rpc::Request request{"ports", {}};
  const json::object result = co_await call_with_progress(daemon, std::move(request));
  const json::array& all = result.at("ports").as_array();
  if (call.json) {
    print_json(all);
  } else if (all.empty()) {
    print_note("no container publishes a port");
  } else {
    print_ports(all);
  }
  co_return 0;
}

}  // namespace

int run_ports(const Invocation& call) { return run_async(ports(call)); }

}  // namespace cl::cli
