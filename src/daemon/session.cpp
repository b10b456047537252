#include "src/daemon/session.hpp"

#include <utility>

#include "src/base/failure.hpp"
#include "src/base/log.hpp"

namespace cl {
namespace json = boost::json;
namespace {

constexpr auto force_patience = std::chrono::seconds(20);  // longer than any single exchange's own limit
constexpr auto state_patience = std::chrono::seconds(2);   // for the state's copy on disk, which commands read

/// What a command is told while its job waits for another one.
std::string waiting_for(const Job& job, bool interrupted) {
  const std::string what = job.kind() == Job::Kind::attach    ? "looking whether a machine of the profile runs"
                           : job.kind() == Job::Kind::suspend ? "waiting for the suspend that is under way"
                           : job.kind() == Job::Kind::apply   ? "waiting for the settings that are being applied"
                           : job.kind() == Job::Kind::start   ? "waiting for the start that is under way"
                                                              : "waiting for the stop that is under way";
  return interrupted && job.kind() == Job::Kind::start ? "interrupting the start" : what;
}

}  // namespace

Session::Session(asio::any_io_executor executor, Home home, ProfilePaths paths, FileLock lock, Parts parts)
    : core_(executor, std::move(home), std::move(paths), std::move(lock), std::move(parts)), tasks_(executor) {
  core_.wake = [this] { return wake(); };
  core_.fall_asleep = [this] { return fall_asleep(); };
  core_.machine_ended = [this](const LiveMachine&) {
    // The job under way sees the end, or finishes with the tear-down; else follow() comes here again.
    if (job_ && !job_->done()) return;
    auto nothing = [](Job&) -> asio::awaitable<json_object> { co_return json_object{}; };
    run(Job::Kind::stop, Before::wait, nothing);
  };
  core_.say = [this](std::string text) {
    if (job_ && !job_->done()) job_->say(std::move(text));
  };
  core_.store.on_tried([this] { end_if_idle(); });
  core_.fatal = [](const std::string& why) { log::error("{}", why); };
}

void Session::note_crashes(const Crashes& crashes) {
  State& state = core_.store.edit();
  state.daemon_crashes = crashes.count;
  state.last_crash = crashes.last;
}

void Session::take_over() {
  core_.store.start();
  run(Job::Kind::attach, Before::wait, [this](Job& job) { return transition::take_over(core_, job); });
}

bool Session::idle() const noexcept {
  return !machine_of(core_.phase()) && !core_.engine_socket.is_open() && !core_.forwards.can_wake() &&
         (job_ == nullptr || job_->done()) && !core_.store.is_behind();
}

void Session::end_if_idle() {
  if (idle() && on_idle_) on_idle_();
}

std::shared_ptr<Job> Session::pending(Job::Kind kind) const {
  return job_ && !job_->done() && job_->kind() == kind ? job_ : nullptr;
}

// --- the queue -------------------------------------------------------------------------------------------------

/// Behind a job that is still under way this one waits for that.
std::shared_ptr<Job> Session::run(Job::Kind kind, Before treatment, Job::Work work) {
  const auto before = job_ && !job_->done() ? job_ : nullptr;
  if (kind != Job::Kind::start) started_.reset();
  auto body = [this, treatment, work](Job& job) { return perform(job, treatment, work); };
  job_ = Job::run(core_.executor, kind, body, before);
  tasks_.spawn("job", follow(job_));
  return job_;
}

/// The work, and then what leaves the profile in a stable phase: part of the job, so that nothing else begins before
/// that is over. For the same reason a job that was interrupted while it waited for another ends after that one.
asio::awaitable<json::object> Session::perform(Job& job, Before treatment, Job::Work work) {
  const auto before = job.before();
  std::exception_ptr failure;
  json::object result;
  try {
    if (before) {
      job.begin("wait", waiting_for(*before, treatment != Before::wait));
      if (treatment != Before::wait) before->cancel_with_those_before();
      co_await wait_for(before, treatment);
      job.end();
    }
    co_await leave_stable_phase();  // a machine may have ended as the last job did
    result = co_await work(job);
  } catch (...) {
    failure = std::current_exception();
  }
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  if (before) co_await wait_for(before, treatment);
  co_await leave_stable_phase();
  co_await core_.store.try_flush(state_patience);
  if (failure) throw error_of(failure);
  co_return result;
}

/// Force waits for nobody for good: a job that does not end though its hypervisor is gone ends with the daemon, and the
/// next one finds a machine that is stopped.
asio::awaitable<void> Session::wait_for(std::shared_ptr<Job> before, Before treatment) {
  if (treatment != Before::force) co_return co_await before->ended();
  auto end = [](std::shared_ptr<Job> job) -> asio::awaitable<void> { co_await job->ended(); };
  const auto failure = co_await failure_of(with_timeout(force_patience, "the job under way", end(before)));
  if (failure) core_.fatal("a job does not end though its machine was ended by force");
}

/// A machine that ended meanwhile is torn down. A phase that only a job may be in means that a transition failed where
/// it should not: the machine is kept, if there is one, and the next start repairs it.
asio::awaitable<void> Session::leave_stable_phase() {
  const auto machine = machine_of(core_.phase());
  const auto reason = machine ? machine->ended() : std::nullopt;
  if (reason) co_await transition::tear_down(core_, reason->clean ? std::string() : reason->text);
  if (is_stable(core_.phase())) co_return;
  log::error("bug: a job has ended while {}", to_string(core_.phase()));
  if (machine) {
    core_.enter(phase::Degraded{*machine}, "something failed half-way; 'colima-like start' repairs it");
  } else {
    co_await transition::tear_down(core_, "something failed half-way");
  }
}

asio::awaitable<void> Session::follow(std::shared_ptr<Job> job) {
  auto end = [](std::shared_ptr<Job> of) -> asio::awaitable<void> { co_await of->result(); };
  const auto failure = co_await failure_of(end(job));
  if (failure) log::info("ended with: {}", one_line(*failure));
  // It may have ended while the job was already on its way out.
  if (const auto machine = machine_of(core_.phase()); machine && machine->ended()) core_.machine_ended(*machine);
  end_if_idle();
}

// --- what commands ask for -----------------------------------------------------------------------------------------

std::shared_ptr<Job> Session::start(StartOrder order) {
  if (pending(Job::Kind::remove))
    throw Error(Errc::busy, "profile '" + core_.paths.name + "' is being deleted",
                "wait for that to end and start again");
  if (const auto job = pending(Job::Kind::start)) {
    if (order.wake || order == started_) return job;
    // A client's wake would resume what this command wants to boot.
    if (order.cold && started_ && started_->wake) job->cancel();
  }
  auto work = [this, order](Job& job) { return transition::start(core_, job, order); };
  auto job = run(Job::Kind::start, Before::wait, work);
  started_ = std::move(order);
  return job;
}

std::shared_ptr<Job> Session::apply(Settings settings) {
  return run(Job::Kind::apply, Before::wait,
             [this, settings](Job& job) { return transition::apply(core_, job, settings); });
}

std::shared_ptr<Job> Session::add_forward(std::string item) {
  return run(Job::Kind::apply, Before::wait,
             [this, item](Job& job) { return transition::add_forward(core_, job, item); });
}

std::shared_ptr<Job> Session::remove_forward(std::string item) {
  return run(Job::Kind::apply, Before::wait, [this, item](Job&) { return transition::remove_forward(core_, item); });
}

std::shared_ptr<Job> Session::stop(bool force) {
  if (pending(Job::Kind::remove))
    throw Error(Errc::busy, "profile '" + core_.paths.name + "' is being deleted", "wait for that to end");
  // Whatever is under way, a suspend too, then finds its hypervisor gone.
  if (const auto machine = machine_of(core_.phase()); force && machine) (*machine)->kill();
  if (const auto job = pending(Job::Kind::stop)) return job;
  return run(Job::Kind::stop, force ? Before::force : Before::interrupt,
             [this, force](Job& job) { return transition::stop(core_, job, force); });
}

std::shared_ptr<Job> Session::suspend(bool by_itself) {
  if (const auto job = pending(Job::Kind::suspend)) return job;
  if (pending(Job::Kind::stop) || pending(Job::Kind::remove))
    throw Error(Errc::busy, "profile '" + core_.paths.name + "' is being stopped");
  return run(Job::Kind::suspend, Before::wait,
             [this, by_itself](Job& job) { return transition::suspend(core_, job, by_itself); });
}

std::shared_ptr<Job> Session::remove(bool data) {
  if (const auto job = pending(Job::Kind::remove)) return job;
  return run(Job::Kind::remove, Before::interrupt,
             [this, data](Job& job) { return transition::remove(core_, job, data); });
}

// --- for services and handlers -------------------------------------------------------------------------------------

/// However many ask. What fails then is told by what they do next.
asio::awaitable<void> Session::wake() {
  if (!is<phase::Saved, phase::Paused, phase::Suspending>(core_.phase())) co_return;
  StartOrder order;
  order.wake = true;
  const auto job = start(std::move(order));
  co_await job->ended();
}

asio::awaitable<void> Session::fall_asleep() {
  const auto job = suspend(true);
  co_await job->result();
}

asio::awaitable<std::shared_ptr<Guest>> Session::guest() {
  // A daemon that was just started for this request is still taking the machine over.
  if (const auto job = job_) co_await job->ended();
  co_await wake();
  if (!core_.guest.link())
    throw Error(Errc::not_running, "profile '" + core_.paths.name + "' is not running", "colima-like start");
  co_return co_await core_.guest.reach_for_client();
}

asio::awaitable<std::vector<PortStatus>> Session::ports() {
  if (const auto job = job_) co_await job->ended();
  auto list = core_.ports.list();
  if (!list) throw Error(Errc::not_running, "profile '" + core_.paths.name + "' is not running", "colima-like start");
  co_return std::move(*list);
}

asio::awaitable<std::vector<ForwardStatus>> Session::forwards() {
  if (const auto job = job_) co_await job->ended();
  co_return core_.forwards.list();
}

asio::awaitable<bool> Session::detach(std::chrono::milliseconds patience) {
  auto end = [](std::shared_ptr<Job> job) -> asio::awaitable<void> { co_await job->ended(); };
  if (const auto job = job_) {
    job->cancel_with_those_before();
    const auto failure = co_await failure_of(with_timeout(patience, "the job under way", end(job)));
    if (failure) co_return false;
  }
  co_await core_.close_services(true);
  co_await core_.close_for_wake();
  co_await core_.store.try_flush(state_patience);
  co_await tasks_.stop();
  co_await core_.stop();
  co_return true;
}

}  // namespace cl
