#include "src/daemon/services/guest_access.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "docker/api.hpp"
#include "profiles/networks.hpp"
#include "profiles/runtime.hpp"
#include "provision/gateway.hpp"
#include "src/base/failure.hpp"
#include "src/base/log.hpp"
#include "src/daemon/core.hpp"

namespace cl {

asio::awaitable<void> GuestAccess::open() {
  const auto machine = machine_of(core_.phase());
  if (link_ || !machine) co_return;
  host_address_.clear();
  if (const std::string remote = (*machine)->remote(); !remote.empty()) {
    link_ = connect_host(remote, [this](bool reached) { follow(reached); });
    core_.notify();
    co_return;
  }
  login_ = co_await core_.parts.login(core_.paths);
  link_ = connect((*machine)->ssh_ports().front(), (*machine)->data_port(), [this](bool reached) { follow(reached); });
  core_.notify();
}

std::shared_ptr<GuestLink> GuestAccess::connect(const SshPort& port, const std::optional<SshPort>& agent,
                                                std::function<void(bool)> on_change) {
  GuestLink::Config config;
  config.to_guest = port.to_guest;
  config.from_guest = port.from_guest;
  if (agent) config.to_agent = agent->to_guest;
  if (agent) config.from_agent = agent->from_guest;
  config.login = login_;
  config.patience = boot_patience;
  config.on_agent = [this] { core_.describe(*this); };
  config.on_change = std::move(on_change);
  return core_.parts.link(core_.executor, std::move(config));
}

std::shared_ptr<GuestLink> GuestAccess::connect_host(const std::string& remote, std::function<void(bool)> on_change) {
  GuestLink::Config config;
  config.remote = remote;
  config.ssh_agent = core_.state().ssh_agent;
  config.session = core_.state().data_owner;
  config.on_change = std::move(on_change);
  return core_.parts.link(core_.executor, std::move(config));
}

/// While no job is under way the phase follows the link.
void GuestAccess::follow(bool reached) noexcept {
  if (!reached)
    if (const auto* running = std::get_if<phase::Running>(&core_.phase()))
      return core_.enter(phase::Degraded{running->machine}, away());
  if (reached)
    if (const auto* degraded = std::get_if<phase::Degraded>(&core_.phase()))
      core_.enter(phase::Running{degraded->machine});
}

std::string GuestAccess::away() const {
  return core_.driver->traits().own_machine ? "the guest does not answer"
                                            : "the host does not answer; it is connected again when it does";
}

asio::awaitable<void> GuestAccess::quiesce() {
  quiesced_ = false;
  if (link_) quiesced_ = co_await link_->quiesce();
}

asio::awaitable<void> GuestAccess::detach() {
  if (!quiesced_) co_return co_await close();
  co_await link_->detach();
}

asio::awaitable<void> GuestAccess::reattach() {
  if (link_ && link_->connected()) co_return co_await link_->reattach();
  co_await close();
}

asio::awaitable<void> GuestAccess::resume() {
  quiesced_ = false;
  if (link_) link_->resume();
  co_return;
}

asio::awaitable<void> GuestAccess::close() {
  const auto link = std::exchange(link_, nullptr);  // whoever waits in it goes on
  quiesced_ = false;
  if (link) co_await link->stop();
  core_.notify();
}

asio::awaitable<std::shared_ptr<Guest>> GuestAccess::reach(std::chrono::milliseconds limit) {
  const auto link = link_;
  if (!link) throw Error(Errc::not_running, "the machine is not up", "colima-like start");
  co_return co_await link->guest(limit);
}

void GuestAccess::describe(State& state) const { state.agent = link_ ? link_->agent() : AgentState{}; }

std::chrono::milliseconds GuestAccess::patience() const noexcept {
  if (is<phase::Preparing, phase::Booting>(core_.phase())) return boot_patience;
  return client_patience;
}

/// While a start is under way it may have no link yet, and gives one up when a suspended machine has to boot instead.
asio::awaitable<std::shared_ptr<Guest>> GuestAccess::when_connected() {
  constexpr auto limit = std::chrono::seconds(10);
  while (!connected()) co_await core_.changed();
  co_return co_await reach(limit);
}

asio::awaitable<std::shared_ptr<Guest>> GuestAccess::reach_for_client() {
  for (;;) {
    while (!link_ && is<phase::Preparing, phase::Booting>(core_.phase())) co_await core_.changed();
    if (is<phase::Blocked>(core_.phase()))
      throw Error(Errc::host_requirement, "the machine stands still: " + core_.state().reason,
                  "make room on the disk; it goes on by itself");
    const auto link = link_;
    if (!link) throw Error(Errc::not_running, "the machine is not up", "colima-like start");
    try {
      co_return co_await link->guest(patience());
    } catch (const Error&) {
      if (link == link_ || !is<phase::Preparing, phase::Booting>(core_.phase())) throw;
    }
  }
}

asio::awaitable<std::unique_ptr<ByteStream>> GuestAccess::open_engine() {
  constexpr auto doubt = std::chrono::seconds(3);            // a stream is open in milliseconds, under TCG in some tens
  constexpr auto try_again = std::chrono::milliseconds(50);  // while the engine has no socket
  const auto until = std::chrono::steady_clock::now() + patience();
  std::optional<Error> failure;
  while (!failure || std::chrono::steady_clock::now() < until) {
    if (failure) co_await sleep_for(try_again);
    co_await core_.wake();
    auto reached = co_await reach_for_client();
    try {
      const Runtime& runtime = runtime_of(core_.state().profile);
      std::string path(runtime.guest_socket);
      const bool answers = core_.ports.engine_answers();
      auto opening = answers ? reached->open_unix_at_once(std::move(path)) : reached->open_unix(std::move(path));
      auto stream = co_await with_timeout(doubt, "opening a stream to the Docker engine", std::move(opening));
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
      if (runtime.speaks_docker && !answers)
        co_await with_timeout(std::max(left, try_again), "the Docker engine's answer to a ping", docker::ping(*stream));
      co_return stream;
    } catch (const Error& error) {
      failure = error;
    }
    const bool asleep = is<phase::Suspending, phase::Saved, phase::Paused>(core_.phase());
    const auto link = link_;
    if (failure->code() == Errc::timed_out && link && !asleep) co_await link->check();
  }
  throw Error(Errc::guest_failed, "the Docker engine in the guest cannot be reached",
              "see 'colima-like status', and the engine's log: colima-like ssh -- journalctl -u docker")
      .because(one_line(*failure));
}

asio::awaitable<std::string> GuestAccess::host_address(Guest& guest) {
  constexpr const char* usual = "192.168.64.1";  // of Apple's NAT, unless it was set otherwise
  if (host_address_.empty()) host_address_ = host_in_guest(core_.driver->traits().host_address, core_.state().profile);
  if (host_address_.empty()) host_address_ = co_await default_gateway(guest);
  if (host_address_.empty()) {
    log::warn("the guest has no default gateway; taking {} for this computer", usual);
    host_address_ = usual;
  }
  co_return host_address_;
}

namespace {

asio::awaitable<void> run_command(std::shared_ptr<GuestLink> link, std::string command) {
  constexpr auto patience = std::chrono::seconds(5);
  const auto reached = co_await link->guest(patience);
  co_await run_in_guest(*reached, std::move(command), "");
}

}  // namespace

asio::awaitable<void> GuestAccess::try_command(std::string what, std::string command, std::chrono::milliseconds limit) {
  const auto link = link_;
  if (!link || !link->connected()) co_return;
  co_await attempt(what, with_timeout(limit, what, run_command(link, std::move(command))));
}

asio::awaitable<void> GuestAccess::try_set_clock() {
  const auto link = link_;
  if (link) co_await attempt("the guest's clock", link->set_clock(wake_patience));
}

void GuestAccess::give_up(Error why) {
  if (link_) link_->give_up(std::move(why));
}

}  // namespace cl
