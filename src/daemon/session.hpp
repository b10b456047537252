#pragma once

#include <boost/json/object.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "docker/context.hpp"
#include "docker/socket_forward.hpp"
#include "profiles/state.hpp"
#include "profiles/store.hpp"
#include "src/base/file_lock.hpp"
#include "src/base/task_group.hpp"
#include "src/daemon/guest_link.hpp"
#include "src/daemon/job.hpp"
#include "vm/driver.hpp"
#include "vm/lifecycle.hpp"

namespace cl {

/// What a `start` asks for.
struct StartOrder {
  Settings settings;                               ///< flags of this run
  std::map<std::string, std::string> environment;  ///< the caller's HOME and DOCKER_*
  bool is_new = false;  ///< the caller has just made the profile: an interrupted start removes it again
};

/// One profile from start to stop; the only caller of the lifecycle's edges and the only writer of its state file.
/// Long work runs as a Job that any number of commands watch; there is one at a time.
class Session {
 public:
  Session(asio::any_io_executor executor, Home home, ProfilePaths paths, FileLock lock, std::unique_ptr<Driver> driver);

  /// The job that starts the machine (or the one that already does). For a machine that runs, it ends at once.
  /// Waits for a stop that is under way. Throws Error{busy} during a delete.
  std::shared_ptr<Job> start(StartOrder order);
  /// Powers off; a start under way is interrupted first. `force` does not wait for the guest.
  std::shared_ptr<Job> stop(bool force);
  /// Stops, then removes everything but the containers' data, which `data` removes too.
  std::shared_ptr<Job> remove(bool data);

  /// The guest once it is reached, for commands in it. Throws Error{not_running} when no machine runs.
  asio::awaitable<std::shared_ptr<Guest>> guest();

  /// A machine that an earlier daemon left running is taken over; does nothing when there is none.
  void take_over();
  /// No machine and nothing under way: the daemon may end.
  bool idle() const noexcept;
  void on_idle(std::function<void()> callback) { on_idle_ = std::move(callback); }
  /// Leaves the machine running and ends everything else; before destruction.
  asio::awaitable<void> detach();

  const FileLock& lock() const noexcept { return lock_; }

 private:
  using json_object = boost::json::object;

  std::shared_ptr<Job> run(Job::Kind kind, Job::Work work);
  asio::awaitable<json_object> finish(Job& job, Job::Work work);
  asio::awaitable<json_object> do_start(Job& job, StartOrder order, std::shared_ptr<Job> before);
  asio::awaitable<json_object> do_take_over(Job& job);
  asio::awaitable<json_object> do_stop(Job& job, bool force, std::shared_ptr<Job> before);
  asio::awaitable<json_object> do_remove(Job& job, bool data, std::shared_ptr<Job> before);
  asio::awaitable<void> boot(Job& job);
  asio::awaitable<void> make_ready(Job& job);
  asio::awaitable<void> power_off(Job& job, bool force);
  asio::awaitable<void> switch_context(Job& job, const StartOrder& order);
  asio::awaitable<void> restore_context();
  asio::awaitable<void> remove_context();
  docker::Cli docker_cli() const;

  asio::awaitable<void> watch_machine();
  asio::awaitable<void> tear_down(std::string reason);
  void connect_guest(SshLogin login, const std::filesystem::path& socket);
  void enter(VmEvent event, std::string reason = {});
  json_object started(std::string summary);

  asio::any_io_executor executor_;
  Home home_;
  ProfilePaths paths_;
  FileLock lock_;
  std::unique_ptr<Driver> driver_;
  VmState vm_state_ = VmState::stopped;
  State state_;
  std::vector<std::string> notes_;
  std::shared_ptr<Job> job_;
  std::shared_ptr<Machine> machine_;
  std::optional<ExitReason> ended_;  ///< why machine_ is gone, until it is torn down
  std::unique_ptr<GuestLink> link_;
  std::unique_ptr<SocketForward> forward_;
  std::function<void()> on_idle_;
  TaskGroup tasks_;
};

}  // namespace cl
