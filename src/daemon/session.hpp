#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "docker/port_forward.hpp"
#include "src/daemon/core.hpp"
#include "src/daemon/job.hpp"
#include "src/daemon/supervisor.hpp"
#include "src/daemon/transitions/transitions.hpp"

namespace cl {

/// One profile from start to stop: the queue of its jobs. A job is a transition that any number of commands watch; one
/// runs at a time, and each leaves a stable phase behind.
///
/// It is large because each way in, of commands, of services and of the daemon, is a function of a few lines.
class Session {
 public:
  Session(asio::any_io_executor executor, Home home, ProfilePaths paths, FileLock lock, Parts parts);
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// For `status`: how often this profile's daemon has died. Before take_over().
  void note_crashes(const Crashes& crashes);
  /// Begins, with what an earlier daemon left. Before everything else.
  void take_over();

  /// The job that starts the machine. An equal order joins the one that is under way, a wake joins any; everything else
  /// runs behind what is under way. Throws Error{busy} during a delete.
  std::shared_ptr<Job> start(StartOrder order);
  /// Applies what changed in the profile's file to the running machine as far as that can be done; the result's notes
  /// tell the rest. Fails with Error{invalid_config} for changes that would need another machine.
  std::shared_ptr<Job> apply(Settings settings);
  /// Opens one more of the profile's forwards, or closes one; the machine may be suspended. Error{busy} says who has
  /// its port, Error{not_running} that no machine is there.
  std::shared_ptr<Job> add_forward(std::string item);
  std::shared_ptr<Job> remove_forward(std::string item);
  /// Powers off; a start under way is interrupted first. `force` ends the hypervisor now, whatever it is doing.
  std::shared_ptr<Job> stop(bool force);
  /// Saves the machine to disk and ends it, or pauses it where its driver cannot save; the socket stays, and whoever
  /// connects resumes it. It is not interrupted, but by a forced stop. Throws Error{busy} behind a stop or a delete.
  std::shared_ptr<Job> suspend() { return suspend(false); }
  /// Stops, then removes everything but the containers' data, which `data` removes too.
  std::shared_ptr<Job> remove(bool data);

  /// The guest once it is reached, for commands in it; a suspended machine is resumed first. Throws Error{not_running}
  /// when no machine runs.
  asio::awaitable<std::shared_ptr<Guest>> guest();
  /// The published ports. Throws Error{not_running} when no machine runs.
  asio::awaitable<std::vector<PortStatus>> ports();
  /// The same at this moment, and none when no machine runs.
  std::vector<PortStatus> open_ports() const { return core_.ports.list().value_or(std::vector<PortStatus>()); }
  /// The forwards; none when no machine is there.
  asio::awaitable<std::vector<ForwardStatus>> forwards();
  /// Returns at the next change of the state: look again.
  asio::awaitable<void> changed() { return core_.store.edited(); }
  const std::string& name() const noexcept { return core_.paths.name; }
  /// What is known at this moment, and why state.json is older than that; empty when it is not.
  const State& state() const noexcept { return core_.state(); }
  const std::string& unsaved() const noexcept { return core_.store.unsaved(); }
  const Phase& phase() const noexcept { return core_.phase(); }

  /// Held by whoever uses the machine in a way that Docker does not show: it does not fall asleep meanwhile.
  class Use {
   public:
    explicit Use(Session& session) : core_(session.core_) { ++core_.uses; }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    ~Use() {
      --core_.uses;
      core_.idle.used();
    }

   private:
    Core& core_;
  };

  /// No machine, no socket to wake one by, nothing under way, and the state is on disk: the daemon may end.
  bool idle() const noexcept;
  void on_idle(std::function<void()> callback) { on_idle_ = std::move(callback); }
  /// Told why the daemon cannot go on: a task that lives as long as it has ended.
  void on_fatal(std::function<void(std::string)> callback) { core_.fatal = std::move(callback); }
  /// Leaves the machine running and ends everything else; before destruction, in any case. A job that cannot be
  /// interrupted is waited for as long as `patience`: false when it did not end, and then nothing may be destroyed.
  asio::awaitable<bool> detach(std::chrono::milliseconds patience);

  const FileLock& lock() const noexcept { return core_.lock; }

 private:
  using json_object = boost::json::object;
  enum class Before { wait, interrupt, force };

  std::shared_ptr<Job> run(Job::Kind kind, Before before, Job::Work work);
  asio::awaitable<json_object> perform(Job& job, Before treatment, Job::Work work);
  asio::awaitable<void> wait_for(std::shared_ptr<Job> before, Before treatment);
  asio::awaitable<void> leave_stable_phase();
  void end_if_idle();
  asio::awaitable<void> follow(std::shared_ptr<Job> job);
  std::shared_ptr<Job> suspend(bool by_itself);
  asio::awaitable<void> wake();
  asio::awaitable<void> fall_asleep();
  /// The job under way or last in the queue, if it is of this kind; else null.
  std::shared_ptr<Job> pending(Job::Kind kind) const;

  Core core_;
  std::shared_ptr<Job> job_;           ///< the newest one
  std::optional<StartOrder> started_;  ///< what job_ was asked for, when it is a start
  std::function<void()> on_idle_;
  TaskGroup tasks_;
};

}  // namespace cl
