#pragma once

#include <boost/json/object.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "docker/context.hpp"
#include "docker/gated_stream.hpp"
#include "docker/port_forward.hpp"
#include "profiles/state.hpp"
#include "profiles/store.hpp"
#include "provision/steps.hpp"
#include "src/base/async.hpp"
#include "src/base/file_lock.hpp"
#include "src/base/task_group.hpp"
#include "src/daemon/drivers.hpp"
#include "src/daemon/guest_link.hpp"
#include "src/daemon/job.hpp"
#include "src/forward/socket_forward.hpp"
#include "src/shares/bind_check.hpp"
#include "src/shares/choice.hpp"
#include "src/shares/events.hpp"
#include "src/shares/mounts.hpp"
#include "vm/driver.hpp"
#include "vm/lifecycle.hpp"
#include "vm/saved_machine.hpp"

namespace cl {

/// What a `start` asks for.
struct StartOrder {
  Settings settings;                               ///< flags of this run
  std::map<std::string, std::string> environment;  ///< the caller's HOME and DOCKER_*
  bool cold = false;                               ///< boots, also when a suspended machine could be resumed
  bool wake = false;    ///< nobody's command, but a client of a suspended machine: Docker's context stays as it is
  bool is_new = false;  ///< the caller has just made the profile: an interrupted start removes it again
};

/// One profile from start to stop; the only caller of the lifecycle's edges and the only writer of its state file.
/// Long work runs as a Job that any number of commands watch; there is one at a time.
class Session {
 public:
  Session(asio::any_io_executor executor, Home home, ProfilePaths paths, FileLock lock, MakeDriver drivers);

  /// The job that starts the machine (or the one that already does). For a machine that runs, it ends at once.
  /// Waits for a stop that is under way. Throws Error{busy} during a delete.
  std::shared_ptr<Job> start(StartOrder order);
  /// Applies what changed in the profile's file to the running machine as far as that can be done; the result's notes
  /// tell the rest. Throws Error{invalid_config} for changes that would need another machine.
  std::shared_ptr<Job> apply(Settings settings);
  /// Powers off; a start under way is interrupted first. `force` does not wait for the guest.
  std::shared_ptr<Job> stop(bool force);
  /// Saves the machine to disk and ends it, or pauses it where its driver cannot save; the socket stays, and whoever
  /// connects resumes it. It is not interrupted.
  std::shared_ptr<Job> suspend() { return suspend(false); }
  /// Stops, then removes everything but the containers' data, which `data` removes too.
  std::shared_ptr<Job> remove(bool data);

  /// The guest once it is reached, for commands in it; a suspended machine is resumed first. Throws Error{not_running}
  /// when no machine runs.
  asio::awaitable<std::shared_ptr<Guest>> guest();

  /// The published ports. Throws Error{not_running} when no machine runs.
  asio::awaitable<std::vector<PortStatus>> ports();

  /// Held by whoever uses the machine in a way that Docker does not show: it does not fall asleep meanwhile.
  class Use {
   public:
    explicit Use(Session& session) : session_(session) { ++session_.uses_; }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    ~Use() {
      --session_.uses_;
      session_.last_use_ = Clock::now();
    }

   private:
    Session& session_;
  };

  /// A machine that an earlier daemon left running is taken over; does nothing when there is none.
  void take_over();
  /// No machine, no socket to wake one by, and nothing under way: the daemon may end.
  bool idle() const noexcept;
  void on_idle(std::function<void()> callback) { on_idle_ = std::move(callback); }
  /// Leaves the machine running and ends everything else; before destruction.
  asio::awaitable<void> detach();

  const FileLock& lock() const noexcept { return lock_; }

 private:
  using json_object = boost::json::object;
  using Clock = std::chrono::steady_clock;
  static constexpr auto guest_patience = std::chrono::minutes(5);  ///< a first boot under TCG on a loaded host
  static constexpr auto client_patience =
      std::chrono::seconds(5);  ///< of docker.sock's clients while the guest is away

  std::shared_ptr<Job> run(Job::Kind kind, Job::Work work);
  asio::awaitable<json_object> finish(Job& job, Job::Work work);
  asio::awaitable<json_object> do_start(Job& job, StartOrder order);
  asio::awaitable<json_object> do_take_over(Job& job);
  asio::awaitable<json_object> do_apply(Job& job, Settings settings);
  bool apply_live(const Profile& wanted);
  asio::awaitable<void> bring_in(Job& job, Profile wanted);
  ProvisionPlan provision_plan() const;
  asio::awaitable<json_object> do_stop(Job& job, bool force);
  asio::awaitable<json_object> do_remove(Job& job, bool data);
  std::shared_ptr<Job> suspend(bool by_itself);
  asio::awaitable<json_object> do_suspend(Job& job, bool by_itself);
  asio::awaitable<void> notice_death();
  asio::awaitable<void> sleep_when_idle();
  asio::awaitable<void> follow_clock();
  asio::awaitable<void> wait_idle(Clock::time_point until);
  asio::awaitable<bool> containers_run();
  Clock::time_point last_use() const;
  asio::awaitable<void> boot(Job& job, Profile wanted);
  asio::awaitable<void> reconnect();
  asio::awaitable<bool> resume(Job& job);
  asio::awaitable<void> load_saved(Job& job);
  asio::awaitable<void> unpause(Job& job);
  asio::awaitable<void> let_go(bool parked);
  asio::awaitable<void> choose_boot_shares();
  void choose_share_devices(const std::vector<Share>& wanted);
  void add_share_devices(BootPlan& plan) const;
  asio::awaitable<void> choose_shares_again();
  asio::awaitable<void> settle_shares();
  asio::awaitable<void> tell_settled();
  asio::awaitable<void> bring_shares_back();
  asio::awaitable<void> close_shares();
  asio::awaitable<void> watch_shares();
  BindRules bind_rules() const;
  void require_space();
  asio::awaitable<void> wake();
  SavedFacts saved_facts() const;
  void open_forward();
  asio::awaitable<std::unique_ptr<ByteStream>> open_engine();
  asio::awaitable<void> make_ready(Job& job);
  void settle_rosetta();
  asio::awaitable<void> find_host_address(Guest& guest);
  asio::awaitable<void> try_in_guest(std::string what, std::string command, std::chrono::milliseconds limit);
  asio::awaitable<void> resume_to_power_off();
  asio::awaitable<void> power_off(Job& job, bool force);
  asio::awaitable<void> end_unreachable(Job& job, bool force);
  asio::awaitable<void> switch_context(Job& job, const StartOrder& order);
  asio::awaitable<void> restore_context();
  asio::awaitable<void> remove_context();
  asio::awaitable<void> settle_client_proxies();
  void remove_client_proxies();
  docker::Cli docker_cli() const;

  asio::awaitable<void> watch_machine();
  asio::awaitable<void> tear_down(std::string reason);
  asio::awaitable<void> connect_guest(SshLogin login);
  std::shared_ptr<GuestLink> link_to(const SshPort& port, std::function<void(bool)> on_change);
  std::chrono::milliseconds patience() const noexcept;
  asio::awaitable<std::shared_ptr<Guest>> reach_guest();
  void open_ports();
  asio::awaitable<void> settle_ports();
  void open_events();
  void update_events();
  std::vector<SharedTree> shared_trees() const;
  void connect_ports();
  asio::awaitable<void> close_forwards();
  void enter(VmEvent event, std::string reason = {});
  void note_state() noexcept;
  void keep_socket() noexcept;
  json_object started(std::string summary);

  asio::any_io_executor executor_;
  Home home_;
  ProfilePaths paths_;
  FileLock lock_;
  MakeDriver drivers_;
  std::unique_ptr<Driver> driver_;  ///< of the last machine; another one only with a boot
  VmState vm_state_ = VmState::stopped;
  State state_;
  SavedMachine saved_;
  std::vector<std::string> notes_;
  std::shared_ptr<Job> job_;
  std::shared_ptr<Machine> machine_;
  std::string host_address_;         ///< in the guest's network
  std::optional<ExitReason> ended_;  ///< why machine_ is gone, until it is torn down
  SshLogin login_;
  std::shared_ptr<GuestLink> link_;
  std::shared_ptr<GuestLink> ports_link_;  ///< a session of its own for what published ports carry
  std::unique_ptr<SocketForward> forward_;
  std::unique_ptr<PortForward> ports_;
  ShareHost share_host_;  ///< as it was looked at last
  std::unique_ptr<GuestShares> shares_;
  bool share_server_ended_ = false;  ///< of machine_: somebody in the guest may wait for it for good
  std::unique_ptr<ShareEvents> events_;
  std::function<void()> on_idle_;
  int uses_ = 0;
  Clock::time_point last_use_{};
  Notifier changed_;               ///< of vm_state_ and link_
  asio::steady_timer idle_timer_;  ///< of sleep_when_idle(); cancelled when it has to look again
  TaskGroup tasks_;
};

}  // namespace cl
