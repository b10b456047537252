#include <fmt/format.h>

#include <boost/json/array.hpp>

#include "profiles/forwards.hpp"
#include "src/daemon/core.hpp"
#include "src/daemon/transitions/transitions.hpp"

// From a stable phase to the same one, with one forward more or less. They are jobs, so that nothing suspends or stops
// the machine meanwhile.

namespace cl::transition {
namespace {

void require_machine(const Core& core) {
  if (is<phase::Running, phase::Degraded, phase::Saved, phase::Paused>(core.phase())) return;
  throw Error(Errc::not_running,
              fmt::format("profile '{}' is {}, and nothing can be forwarded", core.paths.name, to_string(core.phase())),
              "colima-like start " + core.paths.name);
}

boost::json::object told(const Core& core, std::string summary) {
  boost::json::object result{{"summary", std::move(summary)}};
  result["notes"] = boost::json::array(core.notes.begin(), core.notes.end());
  return result;
}

}  // namespace

asio::awaitable<boost::json::object> add_forward(Core& core, Job& job, std::string item) {
  require_machine(core);
  core.notes.clear();
  // Of these alone there is something to wait for.
  const bool waits = item.starts_with(reverse_prefix);
  if (waits) job.begin("forward", "opening a socket in the machine");
  co_await core.forwards.add(item);
  if (waits) job.end();
  const bool rests = is<phase::Saved, phase::Paused>(core.phase());
  if (rests && waits) core.notes.emplace_back("the machine is suspended; this is opened in it when it runs again");
  co_return told(core, "the forward " + item + " is open");
}

asio::awaitable<boost::json::object> remove_forward(Core& core, std::string item) {
  require_machine(core);
  core.notes.clear();
  co_await core.forwards.remove(item);
  co_return told(core, "the forward " + item + " is closed");
}

}  // namespace cl::transition
