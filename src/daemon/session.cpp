#include "src/daemon/session.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "docker/api.hpp"
#include "docker/context.hpp"
#include "profiles/keys.hpp"
#include "profiles/runtime.hpp"
#include "provision/gateway.hpp"
#include "provision/steps.hpp"
#include "src/base/file.hpp"
#include "src/base/log.hpp"
#include "src/daemon/preparation.hpp"

namespace cl {
namespace json = boost::json;
namespace {

constexpr std::size_t console_lines = 12;

/// What explains a guest that did not come up: its kernel's panic and what follows, else its last lines.
std::string console_excerpt(const fs::path& console) {
  constexpr std::size_t panic_and_its_trace = 60;
  const std::string text = tail_lines(console, panic_and_its_trace);
  const auto panic = text.rfind("Kernel panic");
  if (panic == std::string::npos) return last_lines(text, console_lines);
  std::size_t end = text.rfind('\n', panic) + 1;  // npos + 1 is the beginning
  const std::size_t begin = end;
  for (std::size_t i = 0; i < console_lines && end < text.size(); ++i)
    end = std::min(text.find('\n', end), text.size() - 1) + 1;
  return text.substr(begin, end - begin);
}

/// The first line of what went wrong, for a status.
std::string reason_of(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const Error& error) {
    return error.what();
  } catch (const boost::system::system_error& error) {
    if (error.code() == asio::error::operation_aborted) return "it was interrupted";
    return error.what();
  } catch (const std::exception& error) {
    return error.what();
  }
}

/// The result of `main`, once both have ended. When one fails the other is cancelled, and the failure thrown.
template <class T>
asio::awaitable<T> beside(asio::awaitable<void> other, asio::awaitable<T> main) {
  auto executor = co_await asio::this_coro::executor;
  auto both = asio::experimental::make_parallel_group(asio::co_spawn(executor, std::move(main), asio::deferred),
                                                      asio::co_spawn(executor, std::move(other), asio::deferred));
  auto [order, failure, result, other_failure] =
      co_await both.async_wait(asio::experimental::wait_for_one_error(), asio::use_awaitable);
  if (order[0] == 1 && other_failure) std::rethrow_exception(other_failure);
  if (failure) std::rethrow_exception(failure);
  if (other_failure) std::rethrow_exception(other_failure);
  co_return std::move(result);
}

}  // namespace

Session::Session(asio::any_io_executor executor, Home home, ProfilePaths paths, FileLock lock, MakeDriver drivers)
    : executor_(executor),
      home_(std::move(home)),
      paths_(std::move(paths)),
      lock_(std::move(lock)),
      drivers_(std::move(drivers)),
      saved_(paths_.saved_directory),
      changed_(executor),
      idle_timer_(executor),
      tasks_(executor) {
  if (auto saved = load_state(paths_)) state_ = std::move(*saved);
  driver_ = drivers_(state_.driver.empty() ? "qemu" : state_.driver);
  tasks_.spawn("sleep when idle", sleep_when_idle());
  tasks_.spawn("clock", follow_clock());
}

bool Session::idle() const noexcept {
  return machine_ == nullptr && forward_ == nullptr && (job_ == nullptr || job_->done());
}

void Session::enter(VmEvent event, std::string reason) {
  const auto to = next(vm_state_, event);
  if (!to)
    throw Error(Errc::internal, fmt::format("{} is not possible while {}", to_string(event), to_string(vm_state_)));
  log::info("{} -> {}{}", to_string(vm_state_), to_string(*to), reason.empty() ? "" : ": " + reason);
  vm_state_ = *to;
  state_.phase = to_string(*to);
  state_.since = std::time(nullptr);
  state_.reason = std::move(reason);
  if (*to != VmState::suspended) state_.asleep = false;
  idle_timer_.cancel();
  changed_.notify_all();
  save_state(lock_, paths_, state_);
}

/// For news that come by themselves: whoever brings them goes on when the disk is full.
void Session::note_state() noexcept {
  try {
    save_state(lock_, paths_, state_);
  } catch (const std::exception& error) {
    log::error("{}", error.what());
  }
}

/// The one job there is: behind one that is still under way it waits for that.
std::shared_ptr<Job> Session::run(Job::Kind kind, Job::Work work) {
  const auto before = job_ && !job_->done() ? job_ : nullptr;
  job_ = Job::run(executor_, kind, [this, work](Job& job) { return finish(job, work); }, before);
  auto tell_when_idle = [](Session& session, std::shared_ptr<Job> job) -> asio::awaitable<void> {
    try {
      co_await job->result();
    } catch (const Error& error) {
      log::info("ended with: {}", one_line(error));
    }
    if (session.idle() && session.on_idle_) session.on_idle_();
  };
  tasks_.spawn("job", tell_when_idle(*this, job_));
  return job_;
}

/// The work, and then the tear-down of a machine that ended meanwhile: part of the job, so that nothing else begins
/// before it is over. For the same reason a job that was interrupted while it waited for another ends after that one.
asio::awaitable<json::object> Session::finish(Job& job, Job::Work work) {
  const auto before = job.before();
  std::exception_ptr failure;
  json::object result;
  try {
    result = co_await work(job);
  } catch (...) {
    failure = std::current_exception();
  }
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  if (before) co_await before->ended();
  if (machine_ && ended_) co_await tear_down(ended_->clean ? std::string() : ended_->text);
  if (failure) std::rethrow_exception(failure);
  co_return result;
}

// --- start -----------------------------------------------------------------------------------------------------

std::shared_ptr<Job> Session::start(StartOrder order) {
  if (job_ && !job_->done()) {
    if (job_->kind() == Job::Kind::start) return job_;
    if (job_->kind() == Job::Kind::remove)
      throw Error(Errc::busy, "profile '" + paths_.name + "' is being deleted", "wait for that to end and start again");
  }
  return run(Job::Kind::start, [this, order](Job& job) { return do_start(job, order); });
}

asio::awaitable<json::object> Session::do_start(Job& job, StartOrder order) {
  if (const auto before = job.before()) {
    const bool attach = before->kind() == Job::Kind::attach;
    const bool suspends = before->kind() == Job::Kind::suspend;
    job.begin("wait", attach     ? "taking over the running machine"
                      : suspends ? "waiting for the suspend that is under way"
                                 : "waiting for the stop that is under way");
    co_await before->ended();
    job.end();
  }
  notes_.clear();
  Profile wanted = state_.profile;
  if (!order.wake) {  // a client of a suspended machine must not wait for a file to be mended
    const Layered layers = load_layers(paths_, {}, order.settings);
    wanted = layers.profile;
    refuse_recreation(paths_, state_.profile, layers);
  }
  if (vm_state_ == VmState::running) {
    if (order.wake) co_return started("already runs");
    co_await notice_death();
    if (!ended_) {
      co_await bring_in(job, wanted);
      co_await switch_context(job, order);
      co_return started("already runs");
    }
    // It was killed a moment ago: whoever asks for a start gets a machine.
    const std::string why = ended_->text;
    co_await tear_down(why);
  }
  const bool paused = vm_state_ == VmState::suspended && machine_;
  if (order.cold && vm_state_ == VmState::suspended) {
    // With all that waits for the suspended machine: its session would keep whoever is in it for ever.
    if (paused) machine_->kill();
    if (paused) co_await machine_->exited();
    saved_.discard();
    co_await tear_down({});
  }
  const bool repair = machine_ && !paused;  // degraded: its containers must not suffer from a failing repair
  const bool suspended = !repair && (machine_ || saved_.exists());
  enter(VmEvent::start);
  std::exception_ptr failure;
  bool resumed = false;
  try {
    if (repair) co_await reconnect();
    if (suspended) resumed = co_await resume(job);
    if (!repair && !resumed) co_await boot(job, wanted);
    const bool anew = resumed && !order.wake && apply_live(wanted);
    if (anew) co_await choose_shares_again();
    if (!resumed || anew) co_await make_ready(job);
    if (!order.wake) co_await switch_context(job, order);
    enter(VmEvent::ready);
  } catch (...) {
    failure = std::current_exception();
  }
  if (!failure) co_return started(resumed ? "is resumed" : "is running");

  // Nothing interrupts the cleaning up: no process, socket or half-written file stays.
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  const std::string why = "the last start failed: " + reason_of(failure);
  if (repair && !ended_) {
    enter(VmEvent::health_lost, why);
    std::rethrow_exception(failure);
  }
  if (machine_) machine_->kill();
  if (machine_) co_await machine_->exited();
  co_await tear_down(why);
  // Interrupted before it ever ran: as if it had not been asked for. After a failure the logs are wanted.
  if (order.is_new && job.cancelled()) fs::remove_all(paths_.directory);
  std::rethrow_exception(failure);
}

/// A hypervisor that was killed a moment ago may still be giving its memory back: then it answers no more, and its end,
/// which is near, is waited for.
asio::awaitable<void> Session::notice_death() {
  constexpr auto patience = std::chrono::seconds(5);
  try {
    co_await with_timeout(patience, "the hypervisor's answer", machine_->resume());
    co_return;
  } catch (const Error& error) {
    log::warn("{}", one_line(error));
  }
  const auto machine = machine_;
  auto end = [](std::shared_ptr<Machine> dying) -> asio::awaitable<void> { co_await dying->exited(); };
  try {
    co_await with_timeout(patience, "the hypervisor's end", end(machine));
    if (!ended_) ended_ = co_await machine->exited();
  } catch (const Error& error) {
    log::warn("{}", one_line(error));
  }
}

/// The rule of profiles/keys.hpp for a machine that runs: live keys are taken over, the others are noted. Whether the
/// guest must be set up anew.
bool Session::apply_live(const Profile& wanted) {
  std::string waiting;
  bool changed = false;
  for (const Difference& one : differences(state_.profile, wanted, host_facts())) {
    if (one.key->change == Change::live) {
      one.key->set(state_.profile, one.to);
      changed = true;
      log::info("{} is now {}", one.key->name, one.to);
    } else {
      waiting += fmt::format("{}{} is {} and not {}", waiting.empty() ? "" : ", ", one.key->name, one.from, one.to);
    }
  }
  save_state(lock_, paths_, state_);
  idle_timer_.cancel();
  if (!waiting.empty())
    notes_.push_back(fmt::format("the machine runs with other settings: {}; 'colima-like restart {}' changes that",
                                 waiting, paths_.name));
  return changed;
}

/// The live part of `wanted`, into the guest too. When that fails the settings are the old ones, so that the next try
/// finds the difference again.
asio::awaitable<void> Session::bring_in(Job& job, Profile wanted) {
  const Profile last = state_.profile;
  if (!apply_live(wanted)) co_return;
  std::exception_ptr failure;
  try {
    co_await choose_shares_again();
    co_await make_ready(job);
  } catch (...) {
    failure = std::current_exception();
  }
  if (!failure) co_return;
  state_.profile = last;
  save_state(lock_, paths_, state_);
  std::rethrow_exception(failure);
}

std::shared_ptr<Job> Session::apply(Settings settings) {
  return run(Job::Kind::apply, [this, settings](Job& job) { return do_apply(job, settings); });
}

asio::awaitable<json::object> Session::do_apply(Job& job, Settings settings) {
  if (const auto before = job.before()) {
    job.begin("wait", "waiting for what is under way");
    co_await before->ended();
    job.end();
  }
  if (vm_state_ != VmState::running)
    throw Error(Errc::not_running, "profile '" + paths_.name + "' is not running",
                "colima-like start " + paths_.name + " uses the new settings");
  notes_.clear();
  const Layered layers = load_layers(paths_, {}, settings);
  refuse_recreation(paths_, state_.profile, layers);
  co_await bring_in(job, layers.profile);
  co_await settle_client_proxies();
  save_state(lock_, paths_, state_);
  co_return started("has its live settings applied");
}

asio::awaitable<void> Session::boot(Job& job, Profile wanted) {
  auto machine_lock = FileLock::try_acquire(paths_.machine_lock);
  if (!machine_lock)
    throw Error(Errc::busy, "a machine of profile '" + paths_.name + "' runs but does not answer",
                "'colima-like stop --force' ends it, with its containers");
  state_.profile = std::move(wanted);
  saved_.discard();
  co_await close_shares();
  state_.platforms.clear();
  // First the socket: a foreign file at its path is told before anything boots, and a client that comes early waits.
  open_forward();

  state_.driver = resolved_driver(state_.profile, host_facts());
  driver_ = drivers_(state_.driver);
  SshLogin login = co_await prepare_login(paths_);
  co_await choose_boot_shares();
  BootPlan plan = co_await prepare_boot(home_, paths_, state_, driver_->traits(), job);
  plan.lock_fd = machine_lock->fd();
  add_share_devices(plan);
  const Saving saving = co_await driver_->saving(plan);
  state_.fingerprint = saving.fingerprint;
  state_.not_saved = saving.why_not;
  job.begin("boot", "starting the machine");
  fs::remove(paths_.console_log);
  save_state(lock_, paths_, state_);  // with the driver: whoever takes the machine over must know it
  machine_ = co_await driver_->boot(std::move(plan));
  host_address_.clear();
  state_.machine_pid = machine_->pid();
  save_state(lock_, paths_, state_);
  tasks_.spawn("machine", watch_machine());
  tasks_.spawn("share servers", watch_shares());
  settle_rosetta();
  co_await connect_guest(std::move(login));
  open_ports();
  job.end(fmt::format("the machine is started: {}, {} CPUs, {} memory, {}", state_.arch, state_.profile.cpus,
                      state_.profile.memory.str(), state_.accel));
}

/// A machine that vfkit runs without Rosetta though it was told to run it with.
void Session::settle_rosetta() {
  const std::string why = machine_->rosetta_refused();
  if (why.empty()) return;
  if (rosetta_wish(state_.profile) == RosettaWish::on)
    throw Error(Errc::host_requirement, "Rosetta cannot be used",
                "softwareupdate --install-rosetta --agree-to-license, or set vm.rosetta to auto")
        .because(why);
  state_.rosetta = false;
  state_.rosetta_why_not = why;
  notes_.push_back("without Rosetta, amd64 programs are translated by qemu-user: " + why);
}

/// Some networks are the driver's own, of others the guest alone knows.
asio::awaitable<void> Session::find_host_address(Guest& guest) {
  constexpr const char* usual = "192.168.64.1";  // of Apple's NAT, unless it was set otherwise
  if (!host_address_.empty()) co_return;
  host_address_ = driver_->traits().host_address;
  if (!host_address_.empty()) co_return;
  host_address_ = co_await default_gateway(guest);
  if (!host_address_.empty()) co_return;
  log::warn("the guest has no default gateway; taking {} for this host", usual);
  host_address_ = usual;
}

ProvisionPlan Session::provision_plan() const {
  HostSide host{host_address_, read_certificates(state_.profile.certificates)};
  return {state_.data_owner,        paths_.docker_socket,
          state_.profile.runtime,   guest_files(state_.profile, host),
          state_.profile.provision, PlatformPlan{state_.arch, state_.rosetta, state_.rosetta_why_not}};
}

asio::awaitable<void> Session::make_ready(Job& job) {
  job.begin("guest", "waiting for the guest's SSH server");
  std::optional<Error> unreachable;
  std::shared_ptr<Guest> reached;
  try {
    reached = co_await link_->guest(guest_patience);
  } catch (const Error& error) {
    unreachable = error;
  }
  if (unreachable)
    throw unreachable->with_remedy("the whole console is in " + paths_.console_log.string())
        .because("the console says\n" + console_excerpt(paths_.console_log));
  co_await machine_->allow_reboot();
  job.end("the guest's SSH server answers");

  job.begin("provision", "setting the guest up");
  co_await find_host_address(*reached);
  ProvisionPlan plan = provision_plan();
  auto say = [&job](std::string_view doing) { job.say(std::string(doing)); };
  // At once: Docker, whose start ends the set-up, waits for the shares.
  Provisioned done = co_await beside(settle_shares(), provision(*reached, std::move(plan), say));
  state_.data_ready = true;
  state_.platforms = std::move(done.platforms);
  save_state(lock_, paths_, state_);  // an apply enters no other phase that would
  std::string changed;
  for (const StepResult& step : done.steps)
    if (step.changed) changed += (changed.empty() ? "" : ", ") + step.name;
  job.end(changed.empty() ? "the guest is set up; nothing had to change" : "the guest is set up (" + changed + ")");

  const Runtime& runtime = runtime_of(state_.profile);
  state_.runtime_version.clear();
  co_await settle_ports();
  connect_ports();  // only now: a second handshake would slow the boot down
  if (runtime.title.empty()) co_return;
  job.begin("runtime", fmt::format("asking {} for its version", runtime.title));
  if (runtime.speaks_docker) {
    std::string path(runtime.guest_socket);
    auto stream = co_await reached->open_unix(std::move(path));
    const docker::Version version = co_await docker::version(*stream);
    state_.runtime_version = version.version;
  } else {
    // "containerd github.com/containerd/containerd 1.7.24 ..."
    const GuestResult said = co_await run_in_guest(*reached, "set -- $(containerd --version) && echo \"$3\"", "");
    if (said.exit_code != 0)
      throw Error(Errc::guest_failed, "containerd does not answer in the guest", "colima-like restart")
          .because(said.errors);
    state_.runtime_version = last_lines(said.output, 1);
  }
  job.end(fmt::format("{} {} answers", runtime.title, state_.runtime_version));
}

json::object Session::started(std::string summary) {
  json::array notes;
  for (const std::string& note : notes_) notes.emplace_back(note);
  json::object result;
  const Runtime& runtime = runtime_of(state_.profile);
  result["summary"] = runtime.title.empty()
                          ? fmt::format("profile '{}' {}, without a container runtime", paths_.name, summary)
                          : fmt::format("profile '{}' {}: {} {} at unix://{}", paths_.name, summary, runtime.title,
                                        state_.runtime_version, host_socket(runtime, paths_).string());
  result["notes"] = std::move(notes);
  return result;
}

asio::awaitable<void> Session::connect_guest(SshLogin login) {
  if (const auto last = std::exchange(link_, nullptr)) co_await last->stop();  // whoever waits in it goes on
  login_ = std::move(login);
  auto on_change = [this](bool reached) {
    try {
      if (!reached && vm_state_ == VmState::running) enter(VmEvent::health_lost, "the guest does not answer");
      if (reached && vm_state_ == VmState::degraded) enter(VmEvent::health_back);
    } catch (const Error& error) {  // a full disk: the link goes on all the same
      log::error("{}", one_line(error));
    }
  };
  link_ = link_to(machine_->ssh_ports().front(), on_change);
  changed_.notify_all();
}

std::shared_ptr<GuestLink> Session::link_to(const SshPort& port, std::function<void(bool)> on_change) {
  GuestLink::Config config;
  config.to_guest = port.to_guest;
  config.from_guest = port.from_guest;
  config.login = login_;
  config.patience = guest_patience;
  config.on_change = std::move(on_change);
  return GuestLink::start(executor_, std::move(config));
}

// --- a machine that is already there -----------------------------------------------------------------------------

void Session::take_over() {
  if (!FileLock::is_held(paths_.machine_lock)) {
    if (driver_->has_remains(paths_.run_directory))
      run(Job::Kind::attach, [this](Job&) -> asio::awaitable<json::object> {
        co_await driver_->clean_up(paths_.run_directory);
        co_return json::object{};
      });
    const bool suspended = saved_.exists();
    if (suspended) vm_state_ = VmState::suspended;
    if (suspended) keep_socket();
    if (state_.phase == to_string(vm_state_)) return;
    // The last daemon did not live to see its machine end.
    const Observed seen = observe(paths_);
    state_.phase = to_string(vm_state_);
    state_.reason = suspended ? "" : seen.state.reason;
    save_state(lock_, paths_, state_);
    return;
  }
  run(Job::Kind::attach, [this](Job& job) { return do_take_over(job); });
}

/// To a machine that runs: as much of it as there is not yet. Of a guest that its hypervisor has paused (the host's
/// disk was full), the CPUs go on.
asio::awaitable<void> Session::reconnect() {
  co_await machine_->resume();
  if (!link_) {
    SshLogin login = co_await prepare_login(paths_);
    co_await connect_guest(std::move(login));
  }
  open_forward();
  open_ports();
}

asio::awaitable<json::object> Session::do_take_over(Job& job) {
  enter(VmEvent::start);
  job.begin("attach", "taking over the running machine");
  std::exception_ptr failure;
  try {
    // A hypervisor whose daemon was killed right after it had started it has no control socket yet.
    const auto until = Clock::now() + std::chrono::seconds(5);
    // Not interrupted half-way: a stop needs the machine.
    co_await asio::this_coro::throw_if_cancelled(false);
    machine_ = co_await uninterrupted(driver_->attach(paths_.run_directory));
    while (!machine_ && FileLock::is_held(paths_.machine_lock) && Clock::now() < until) {
      co_await uninterrupted(sleep_for(std::chrono::milliseconds(20)));
      machine_ = co_await uninterrupted(driver_->attach(paths_.run_directory));
    }
    co_await asio::this_coro::throw_if_cancelled(true);
    if (!machine_ && !FileLock::is_held(paths_.machine_lock))
      throw Error(Errc::not_running, "the machine could not go on and was ended", "colima-like start");
    if (!machine_)
      throw Error(Errc::busy, "the machine of profile '" + paths_.name + "' runs but does not answer",
                  "'colima-like stop --force' ends it, with its containers");
    state_.machine_pid = machine_->pid();
    tasks_.spawn("machine", watch_machine());
    tasks_.spawn("share servers", watch_shares());
    // A daemon may have been killed while it suspended or resumed the machine: whatever it saved is void now.
    saved_.discard();
    co_await reconnect();
    job.end("took over the running machine");
    try {
      co_await choose_shares_again();
    } catch (const Error& error) {
      notes_.push_back(one_line(error));
    }
    co_await make_ready(job);
    enter(VmEvent::ready);
  } catch (...) {
    failure = std::current_exception();
  }
  if (!failure) co_return started("is running");
  // The machine and its containers are left alone: a stop or another start decides.
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  if (machine_ && vm_state_ == VmState::starting) enter(VmEvent::health_lost, "the machine could not be taken over");
  if (!machine_) co_await tear_down("the machine could not be taken over");
  std::rethrow_exception(failure);
}

// --- for the daemon ------------------------------------------------------------------------------------------------

asio::awaitable<std::shared_ptr<Guest>> Session::guest() {
  // A daemon that was just started for this request is still taking the machine over.
  if (const auto job = job_) co_await job->ended();
  co_await wake();
  if (!link_) throw Error(Errc::not_running, "profile '" + paths_.name + "' is not running", "colima-like start");
  auto reached = co_await link_->guest(client_patience);
  co_return reached;
}

asio::awaitable<void> Session::detach() {
  if (const auto job = job_) {
    job->cancel_with_those_before();
    co_await job->ended();  // what cannot be interrupted needs this object to its end
  }
  co_await close_forwards();
  co_await close_shares();
  if (link_) co_await link_->stop();
  if (ports_link_) co_await ports_link_->stop();
  co_await tasks_.stop();
}

}  // namespace cl
