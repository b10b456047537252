#include "profiles/state.hpp"
#include "src/base/byte_size.hpp"
#include "src/cli/command.hpp"
#include "src/cli/launch.hpp"
#include "src/cli/output.hpp"

namespace cl::cli {
namespace {

void print_ports(const std::vector<rpc::PublishedPort>& ports) {
  std::vector<std::vector<std::string>> rows{{"CONTAINER", "ADDRESS", "PORT", "REACH", "STATE", "IN", "OUT", "SINCE"}};
  std::vector<std::string> notes;
  for (const rpc::PublishedPort& port : ports) {
    const std::string number = std::to_string(port.port) + "/" + port.protocol;
    const std::string whose = port.forward ? "forward " + *port.forward : port.container;
    rows.push_back({whose, port.address, number, port.reach, port.state, ByteSize::bytes(port.bytes_in).str(),
                    ByteSize::bytes(port.bytes_out).str(), ago(port.since)});
    if (port.problem)
      notes.push_back(port.address + " " + number + ": " + *port.problem + "; " + port.remedy.value_or(""));
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
  rpc::Ports request;
  const rpc::PublishedPorts result = co_await call_with_progress(daemon, request);
  if (call.json) {
    print_json(rpc::write(result.ports));
  } else if (result.ports.empty()) {
    print_note("no container publishes a port; 'docker run -p 8080:80 IMAGE' publishes one");
  } else {
    print_ports(result.ports);
  }
  co_return 0;
}

}  // namespace

int run_ports(const Invocation& call) { return run_async(ports(call)); }

}  // namespace cl::cli
