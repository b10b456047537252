#include "provision/host_set_up.hpp"

#include <boost/uuid/random_generator.hpp>
#include <boost/uuid/uuid_io.hpp>

#include "profiles/remote_host.hpp"
#include "profiles/runtime.hpp"
#include "src/base/failure.hpp"
#include "src/base/log.hpp"
#include "src/daemon/core.hpp"
#include "src/daemon/transitions/transitions.hpp"
#include "src/rpc/requests.hpp"

// What a machine's boot, set-up and removal are for an engine on a host (vm.driver: host).

namespace cl::transition {
namespace {

constexpr auto reach_limit = std::chrono::seconds(45);  // ssh gives up before

/// Whether somebody takes connections at the engine's socket.
asio::awaitable<bool> engine_listens(Guest& host, const Runtime& runtime) {
  auto open = [](Guest& on, std::string path) -> asio::awaitable<void> { co_await on.open_unix(std::move(path)); };
  const auto failure = co_await failure_of(open(host, std::string(runtime.guest_socket)));
  if (failure) log::info("the engine of the host: {}", one_line(*failure));
  co_return !failure;
}

asio::awaitable<RemoteFacts> look(Core& core, Guest& host) {
  RemoteFacts facts = co_await look_at_host(host);
  facts.answers = co_await engine_listens(host, runtime_of(core.state().profile));
  co_return facts;
}

Error ask_first(const std::vector<HostChange>& changes, const std::string& host) {
  std::string list;
  for (const HostChange& change : changes) list += (list.empty() ? "" : "\n") + change.text;
  return Error(Errc::host_requirement, "something has to be changed on " + host, std::string(rpc::agree)).because(list);
}

asio::awaitable<void> make_changes(Core& core, Job& job, std::vector<HostChange> changes) {
  for (HostChange& change : changes) {
    job.begin("host", change.text);
    const bool new_rights = change.verb == "join";
    const auto host = co_await core.guest.reach(reach_limit);
    co_await change_host(*host, std::move(change));
    if (new_rights && core.guest.link()) core.guest.link()->log_in_again();
    job.end();
  }
}

}  // namespace

BootPlan plan_for_host(Core& core, int lock_fd) {
  State& state = core.store.edit();
  state.arch.clear();  // until the host has said it
  state.image.clear();
  state.accel.clear();
  if (state.data_owner.empty()) state.data_owner = to_string(boost::uuids::random_generator()());
  BootPlan plan;
  plan.name = host_name(core.paths.name);
  plan.remote = remote_host(state.profile);
  plan.run_directory = core.paths.run_directory;
  plan.lock = core.paths.machine_lock;
  plan.lock_fd = lock_fd;
  return plan;
}

asio::awaitable<void> set_up_host(Core& core, Job& job) {
  const std::string name = remote_host(core.state().profile);
  const Runtime& runtime = runtime_of(core.state().profile);
  job.begin("host", "connecting to " + name);
  auto host = co_await core.guest.reach(reach_limit);
  RemoteFacts facts = co_await look(core, *host);
  core.store.edit().arch = facts.architecture;
  job.end(name + " is reached: " + facts.system + ", " + facts.architecture);
  if (auto changes = plan_host(facts, name); !changes.empty()) {
    if (!core.agreed) throw ask_first(changes, name);
    co_await make_changes(core, job, std::move(changes));
    host = co_await core.guest.reach(reach_limit);
    facts = co_await look(core, *host);
    if (!facts.answers)
      throw Error(Errc::guest_failed, "Docker on " + name + " does not answer",
                  "see its log there: journalctl -u docker");
  }
  core.store.edit().data_ready = true;
  core.store.edit().runtime_version.clear();
  co_await core.services_ready();
  job.begin("runtime", "asking Docker on " + name + " for its version");
  const std::string version = co_await with_timeout(core.parts.patience.version, "the answer of Docker on " + name,
                                                    core.parts.runtime_version(*host, runtime));
  require_docker_version(version, name);
  core.store.edit().runtime_version = version;
  job.end("Docker " + version + " answers");
}

namespace {

asio::awaitable<TakenBack> take_back(GuestLink& link, bool data) {
  const auto host = co_await link.guest(reach_limit);
  co_return co_await take_back_from_host(*host, data);
}

}  // namespace

/// By a connection of its own: the profile may be stopped.
asio::awaitable<std::string> leave_host(Core& core, Job& job, bool data) {
  const std::string name = remote_host(core.state().profile);
  if (name.empty() || !core.state().data_ready) co_return "";
  job.begin("host", "taking back what was brought to " + name);
  const auto link = core.guest.connect_host(name);
  std::optional<TakenBack> done;
  const auto failure = co_await failure_of(store(take_back(*link, data), done));
  co_await link->stop();
  if (failure) {
    core.notes.push_back("what was brought to " + name +
                         " stays there, in /var/lib/colima-like-host and ~/.cache/colima-like: " + one_line(*failure));
    co_return "";
  }
  std::string text;
  for (const std::string& one : done->back) text += (text.empty() ? "" : ", ") + one;
  for (const std::string& one : done->left) core.notes.push_back("left on " + name + ": " + one);
  job.end();
  co_return text;
}

}  // namespace cl::transition
