#pragma once

#include <array>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "profiles/runtime.hpp"
#include "profiles/store.hpp"
#include "provision/steps.hpp"
#include "src/base/file_lock.hpp"
#include "src/base/net/host_networks.hpp"
#include "src/base/task_group.hpp"
#include "src/daemon/drivers.hpp"
#include "src/daemon/guest_link.hpp"
#include "src/daemon/job.hpp"
#include "src/daemon/phase.hpp"
#include "src/daemon/services/bound_files.hpp"
#include "src/daemon/services/clock.hpp"
#include "src/daemon/services/data_path.hpp"
#include "src/daemon/services/docker_client.hpp"
#include "src/daemon/services/egress.hpp"
#include "src/daemon/services/engine_socket.hpp"
#include "src/daemon/services/file_events.hpp"
#include "src/daemon/services/forwards.hpp"
#include "src/daemon/services/guest_access.hpp"
#include "src/daemon/services/host_sockets.hpp"
#include "src/daemon/services/idle.hpp"
#include "src/daemon/services/machine_watch.hpp"
#include "src/daemon/services/names.hpp"
#include "src/daemon/services/ports.hpp"
#include "src/daemon/services/runtime_watch.hpp"
#include "src/daemon/services/shares.hpp"
#include "src/daemon/services/trim.hpp"
#include "src/daemon/state_store.hpp"
#include "vm/saved_machine.hpp"

namespace cl {

struct BootOptions;

/// How long transitions wait for one exchange before they fail and name it. Each is far longer than that takes on a
/// loaded computer with an emulated guest: what is longer hangs.
struct Patience {
  using Time = std::chrono::milliseconds;
  Time boot = std::chrono::minutes(5);        ///< for a hypervisor, with the servers of its shares
  Time answer = std::chrono::seconds(40);     ///< of a hypervisor; drivers have their own limits, which are shorter
  Time memory = std::chrono::minutes(5);      ///< to save and to load: a large guest on a slow disk
  Time services = std::chrono::minutes(2);    ///< for what all of them do at one change
  Time set_up = std::chrono::minutes(30);     ///< for a set-up in which nothing new begins; it may install programs
  Time version = std::chrono::minutes(1);     ///< for the runtime's answer, which runs
  Time power_off = std::chrono::seconds(60);  ///< dockerd gives containers 10 s, under emulation more
};

/// What a session is made of that reaches outside of this process. The product has one set (make_parts()), tests
/// another.
struct Parts {
  MakeDriver driver;
  MakeLink link;
  /// How to log in to the guest; makes the keys when there are none.
  std::function<asio::awaitable<SshLogin>(const ProfilePaths&)> login;
  /// preparation.hpp
  std::function<asio::awaitable<BootPlan>(const Home&, const ProfilePaths&, StateStore&, DriverTraits, Job&,
                                          BootOptions)>
      plan;
  std::function<asio::awaitable<Provisioned>(Guest&, ProvisionPlan, std::function<void(std::string_view)>)> provision;
  /// tools.hpp
  std::function<asio::awaitable<std::string>(const Home&, const State&, Guest&, Job&)> tools;
  /// What the runtime in the guest says of its version.
  std::function<asio::awaitable<std::string>(Guest&, const Runtime&)> runtime_version;
  std::function<std::vector<HostNetwork>()> networks;  ///< of this computer; empty = none is known
  std::string docker = "docker";                       ///< the docker CLI
  Patience patience;
  TrimTimings trim;
};

Parts make_parts();

/// All that the daemon of one profile consists of but its queue of jobs: what is known (state, phase), and what is
/// offered (services). Transitions work on it, one at a time; services use one another through it.
struct Core {
  Core(asio::any_io_executor executor, Home home, ProfilePaths paths, FileLock lock, Parts parts);
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  const State& state() const noexcept { return store.state(); }
  const Phase& phase() const noexcept { return phase_; }
  /// Changes the phase. It never fails: what must happen before (a file that has to be there) is done before, and the
  /// state's copy on disk follows.
  void enter(Phase next, std::string reason = {}) noexcept;
  /// Returns at the next change of the phase, or of what else clients wait for: look again.
  asio::awaitable<void> changed() { co_await changed_.wait(); }
  void notify() noexcept { changed_.notify_all(); }

  /// The machine goes and its clients stay: they wait for the next one.
  asio::awaitable<void> forget_machine();

  // At each change all services in their order, as long as Patience says; Error{timed_out} names the change.
  asio::awaitable<void> open_services();
  asio::awaitable<void> services_ready();
  asio::awaitable<void> quiesce_services();
  asio::awaitable<void> detach_services();
  asio::awaitable<void> reattach_services();
  asio::awaitable<void> resume_services();
  /// In the reverse order, and without a limit: what is in use is not left. None of them can keep the others from it.
  /// With `for_wake` what a client needs to wake a suspended machine stays: its socket, forwards, and Docker's context.
  asio::awaitable<void> close_services(bool for_wake);
  /// Opens that for a machine that is suspended. A failure is only logged.
  asio::awaitable<void> open_for_wake();
  /// Ends it, when the daemon does.
  asio::awaitable<void> close_for_wake();
  /// A service's part of the state, as it is now.
  void describe(const Service& service) noexcept;

  /// A task that lives as long as its owner. If it ends by itself, so does the daemon: the next one repairs.
  void spawn_permanent(TaskGroup& tasks, std::string name, asio::awaitable<void> work);
  /// One that may end, as what it watches does, but not fail.
  void spawn_watch(TaskGroup& tasks, std::string name, asio::awaitable<void> work);
  /// Something short that runs at the same time as everything else; its failure is only logged.
  void spawn(std::string name, asio::awaitable<void> work) { tasks_.spawn(std::move(name), std::move(work)); }
  /// Ends what spawn() began, and the writing of the state. Before destruction, after close_services().
  asio::awaitable<void> stop();

  asio::any_io_executor executor;
  const Home home;
  const ProfilePaths paths;
  const FileLock lock;
  const Parts parts;
  StateStore store;
  SavedMachine saved;
  std::unique_ptr<Driver> driver;  ///< of the last machine; another one only with a boot
  std::vector<std::string> notes;  ///< for whoever asked for the job that is under way
  bool agreed = false;             ///< whoever asked for that job lets it change a host
  int uses = 0;                    ///< of the machine, in ways that its services do not see

  // Set by the session.
  std::function<asio::awaitable<void>()> wake;         ///< resumes a suspended machine; else does nothing
  std::function<void(LiveMachine)> machine_ended;      ///< its hypervisor is gone
  std::function<asio::awaitable<void>()> fall_asleep;  ///< suspends it for want of use; throws why it cannot
  std::function<void(std::string)> fatal;              ///< the daemon cannot go on
  std::function<void(std::string)> say;                ///< to whoever watches the job that is under way

  DockerClient docker_client;
  EngineSocket engine_socket;
  GuestAccess guest;
  EgressService egress;
  Names host_names;
  Forwards forwards;
  Shares shares;
  HostSockets host_sockets;
  FileEventService file_events;
  BoundFiles bound_files;
  Ports ports;
  DataPath data_path;
  RuntimeWatch runtime_watch;
  TrimService trim;
  ClockService clock;
  IdlePolicy idle;
  MachineWatch machine_watch;

 private:
  /// The order: opened from left to right.
  std::array<Service*, 17> services_{&docker_client, &engine_socket, &guest,         &egress,      &host_names,
                                     &forwards,      &shares,        &host_sockets,  &file_events, &bound_files,
                                     &ports,         &data_path,     &runtime_watch, &trim,        &clock,
                                     &idle,          &machine_watch};
  Phase phase_ = phase::Stopped{};
  Notifier changed_;
  TaskGroup tasks_;

  using Change = asio::awaitable<void> (Service::*)();
  asio::awaitable<void> for_each(Change change, bool reverse);
  asio::awaitable<void> with_limit(std::string doing, Change change, bool reverse = false);
};

}  // namespace cl
