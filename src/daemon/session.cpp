#include "src/daemon/session.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "docker/api.hpp"
#include "docker/context.hpp"
#include "provision/steps.hpp"
#include "src/base/file.hpp"
#include "src/base/log.hpp"
#include "src/daemon/preparation.hpp"

namespace cl {
namespace json = boost::json;
namespace {

constexpr auto guest_patience = std::chrono::minutes(5);    // a first boot under TCG on a loaded host
constexpr auto power_off_grace = std::chrono::seconds(60);  // dockerd gives containers 10 s, under TCG more
constexpr auto client_patience = std::chrono::seconds(30);  // of a connection to docker.sock while the guest is away
constexpr std::size_t console_lines = 12;
constexpr const char* guest_docker_socket = "/var/run/docker.sock";

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

std::string product_description(const std::string& profile) { return "colima-like, profile " + profile; }

}  // namespace

Session::Session(asio::any_io_executor executor, Home home, ProfilePaths paths, FileLock lock,
                 std::unique_ptr<Driver> driver)
    : executor_(executor),
      home_(std::move(home)),
      paths_(std::move(paths)),
      lock_(std::move(lock)),
      driver_(std::move(driver)),
      tasks_(executor) {
  if (auto saved = load_state(paths_)) state_ = std::move(*saved);
}

bool Session::idle() const noexcept { return machine_ == nullptr && (job_ == nullptr || job_->done()); }

void Session::enter(VmEvent event, std::string reason) {
  const auto to = next(vm_state_, event);
  if (!to)
    throw Error(Errc::internal, fmt::format("{} is not possible while {}", to_string(event), to_string(vm_state_)));
  log::info("{} -> {}{}", to_string(vm_state_), to_string(*to), reason.empty() ? "" : ": " + reason);
  vm_state_ = *to;
  state_.phase = to_string(*to);
  state_.since = std::time(nullptr);
  state_.reason = std::move(reason);
  save_state(lock_, paths_, state_);
}

std::shared_ptr<Job> Session::run(Job::Kind kind, Job::Work work) {
  job_ = Job::run(executor_, kind, [this, work](Job& job) { return finish(job, work); });
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
/// before it is over.
asio::awaitable<json::object> Session::finish(Job& job, Job::Work work) {
  std::exception_ptr failure;
  json::object result;
  try {
    result = co_await work(job);
  } catch (...) {
    failure = std::current_exception();
  }
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  if (machine_ && ended_) co_await tear_down(ended_->clean ? std::string() : ended_->text);
  if (failure) std::rethrow_exception(failure);
  co_return result;
}

// --- start -----------------------------------------------------------------------------------------------------

std::shared_ptr<Job> Session::start(StartOrder order) {
  std::shared_ptr<Job> before;
  if (job_ && !job_->done()) {
    if (job_->kind() == Job::Kind::start) return job_;
    if (job_->kind() == Job::Kind::remove)
      throw Error(Errc::busy, "profile '" + paths_.name + "' is being deleted", "wait for that to end and start again");
    before = job_;
  }
  return run(Job::Kind::start, [this, order, before](Job& job) { return do_start(job, order, before); });
}

asio::awaitable<json::object> Session::do_start(Job& job, StartOrder order, std::shared_ptr<Job> before) {
  if (before) {
    const bool attach = before->kind() == Job::Kind::attach;
    job.begin("wait", attach ? "taking over the running machine" : "waiting for the stop that is under way");
    co_await before->ended();
    job.end();
  }
  notes_.clear();
  const Profile wanted = load_profile(paths_, order.settings);
  if (vm_state_ == VmState::running) {
    if (wanted != state_.profile && !order.settings.empty())
      notes_.push_back("the machine runs with other settings; 'colima-like restart' applies new ones");
    co_await switch_context(job, order);
    co_return started("already runs");
  }
  const bool repair = machine_ != nullptr;  // degraded: its containers must not suffer from a failing repair
  if (!repair) state_.profile = wanted;
  enter(VmEvent::start);
  std::exception_ptr failure;
  try {
    if (!repair) co_await boot(job);
    co_await make_ready(job);
    co_await switch_context(job, order);
    enter(VmEvent::ready);
  } catch (...) {
    failure = std::current_exception();
  }
  if (!failure) co_return started("is running");

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

asio::awaitable<void> Session::boot(Job& job) {
  auto machine_lock = FileLock::try_acquire(paths_.machine_lock);
  if (!machine_lock)
    throw Error(Errc::busy, "a machine of profile '" + paths_.name + "' runs but does not answer",
                fmt::format("end it with 'kill {}' and start again", state_.machine_pid));
  // First the socket: a foreign file at its path is told before anything boots, and a client that comes early waits.
  auto open = [this]() -> asio::awaitable<std::unique_ptr<ByteStream>> {
    auto reached = co_await link_->guest(vm_state_ == VmState::starting ? guest_patience : client_patience);
    co_return co_await reached->open_unix(guest_docker_socket);
  };
  auto open_when_linked = [this, open]() -> asio::awaitable<std::unique_ptr<ByteStream>> {
    if (!link_) throw Error(Errc::not_running, "the machine is not up yet", "wait for 'colima-like start'");
    return open();
  };
  forward_ = std::make_unique<SocketForward>(executor_, paths_.docker_socket, open_when_linked);

  BootPlan plan = co_await prepare_boot(home_, paths_, state_, job);
  SshLogin login = co_await prepare_login(paths_);
  plan.lock_fd = machine_lock->fd();
  job.begin("boot", "starting the machine");
  fs::remove(paths_.console_log);
  machine_ = co_await driver_->boot(std::move(plan));
  state_.driver = driver_->name();
  state_.machine_pid = machine_->pid();
  save_state(lock_, paths_, state_);
  tasks_.spawn("machine", watch_machine());
  connect_guest(std::move(login), machine_->ssh_sockets().front());
  job.end(fmt::format("the machine is started: {}, {} CPUs, {} memory, {}", state_.arch, state_.profile.cpus,
                      state_.profile.memory.str(), state_.accel));
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
  ProvisionPlan plan{state_.data_owner};
  auto say = [&job](std::string_view doing) { job.say(std::string(doing)); };
  const auto steps = co_await provision(*reached, std::move(plan), say);
  state_.data_ready = true;
  std::string changed;
  for (const StepResult& step : steps)
    if (step.changed) changed += (changed.empty() ? "" : ", ") + step.name;
  job.end(changed.empty() ? "the guest is set up; nothing had to change" : "the guest is set up (" + changed + ")");

  job.begin("docker", "asking Docker for its version");
  auto stream = co_await reached->open_unix(guest_docker_socket);
  const docker::Version version = co_await docker::version(*stream);
  state_.docker_version = version.version;
  job.end("Docker " + version.version + " answers");
}

json::object Session::started(std::string summary) {
  json::array notes;
  for (const std::string& note : notes_) notes.emplace_back(note);
  json::object result;
  result["summary"] = fmt::format("profile '{}' {}: Docker {} at unix://{}", paths_.name, summary,
                                  state_.docker_version, paths_.docker_socket.string());
  result["notes"] = std::move(notes);
  return result;
}

void Session::connect_guest(SshLogin login, const std::filesystem::path& socket) {
  GuestLink::Config config;
  config.socket = socket;
  config.login = std::move(login);
  config.on_change = [this](bool reached) {
    if (!reached && vm_state_ == VmState::running) enter(VmEvent::health_lost, "the guest does not answer");
    if (reached && vm_state_ == VmState::degraded) enter(VmEvent::health_back);
  };
  link_ = std::make_unique<GuestLink>(executor_, std::move(config));
}

// --- a machine that is already there -----------------------------------------------------------------------------

void Session::take_over() {
  if (!FileLock::is_held(paths_.machine_lock)) {
    if (state_.phase == "stopped") return;
    // The last daemon did not live to see its machine end.
    const Observed seen = observe(paths_);
    state_.phase = "stopped";
    state_.reason = seen.state.reason;
    save_state(lock_, paths_, state_);
    return;
  }
  run(Job::Kind::attach, [this](Job& job) { return do_take_over(job); });
}

asio::awaitable<json::object> Session::do_take_over(Job& job) {
  enter(VmEvent::start);
  job.begin("attach", "taking over the running machine");
  std::exception_ptr failure;
  try {
    machine_ = co_await driver_->attach(paths_.run_directory);
    if (!machine_)
      throw Error(Errc::busy, "the machine of profile '" + paths_.name + "' runs but does not answer",
                  fmt::format("end it with 'kill {}' and start again", state_.machine_pid));
    tasks_.spawn("machine", watch_machine());
    SshLogin login = co_await prepare_login(paths_);
    connect_guest(std::move(login), machine_->ssh_sockets().front());
    auto open = [this]() -> asio::awaitable<std::unique_ptr<ByteStream>> {
      auto reached = co_await link_->guest(client_patience);
      co_return co_await reached->open_unix(guest_docker_socket);
    };
    forward_ = std::make_unique<SocketForward>(executor_, paths_.docker_socket, open);
    job.end("took over the running machine");
    co_await make_ready(job);
    enter(VmEvent::ready);
  } catch (...) {
    failure = std::current_exception();
  }
  if (!failure) co_return started("is running");
  // The machine and its containers are left alone: a stop or another start decides.
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  if (machine_ && vm_state_ == VmState::starting) enter(VmEvent::health_lost, "the machine could not be taken over");
  if (!machine_) {
    const int pid = state_.machine_pid;
    co_await tear_down("the machine could not be taken over");
    state_.machine_pid = pid;  // it may still run, and its number is then all that is known
    save_state(lock_, paths_, state_);
  }
  std::rethrow_exception(failure);
}

asio::awaitable<void> Session::watch_machine() {
  auto machine = machine_;
  const ExitReason reason = co_await machine->exited();
  log::info("the machine ended: {}", reason.text);
  if (link_) link_->give_up(Error(Errc::guest_failed, "the machine ended", "colima-like start").because(reason.text));
  ended_ = reason;
  if (job_ && !job_->done()) co_return;  // the job under way sees the end, or finishes with the tear-down
  auto nothing = [](Job&) -> asio::awaitable<json::object> { co_return json::object{}; };
  run(Job::Kind::stop, nothing);
}

asio::awaitable<void> Session::tear_down(std::string reason) {
  if (forward_) co_await forward_->stop();
  forward_.reset();
  if (link_) co_await link_->stop();
  link_.reset();
  machine_.reset();
  ended_.reset();
  // A hypervisor that was killed leaves its sockets; ours is still in use.
  for (const auto& entry : fs::directory_iterator(paths_.run_directory))
    if (entry.path() != paths_.control_socket) fs::remove(entry.path());
  co_await restore_context();
  state_.machine_pid = 0;
  if (vm_state_ != VmState::stopped) enter(VmEvent::exited, std::move(reason));
}

// --- stop and delete ---------------------------------------------------------------------------------------------

std::shared_ptr<Job> Session::stop(bool force) {
  std::shared_ptr<Job> before;
  if (job_ && !job_->done()) {
    if (job_->kind() == Job::Kind::stop) return job_;
    if (job_->kind() == Job::Kind::remove)
      throw Error(Errc::busy, "profile '" + paths_.name + "' is being deleted", "wait for that to end");
    before = job_;
  }
  return run(Job::Kind::stop, [this, force, before](Job& job) { return do_stop(job, force, before); });
}

asio::awaitable<json::object> Session::do_stop(Job& job, bool force, std::shared_ptr<Job> before) {
  if (before) {
    job.begin("interrupt", "interrupting the start");
    before->cancel();
    co_await before->ended();
    job.end();
  }
  if (machine_) co_await power_off(job, force);
  co_return json::object{};
}

asio::awaitable<void> Session::power_off(Job& job, bool force) {
  // A stop that was begun is finished: half a stop helps nobody.
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  if (vm_state_ != VmState::stopping) enter(VmEvent::stop);
  if (forward_) co_await forward_->stop();
  job.begin("stop",
            force ? "ending the machine" : fmt::format("powering off (ended after {} s)", power_off_grace.count()));
  const bool by_itself = co_await stop_machine(*machine_, force ? std::chrono::seconds(0) : power_off_grace);
  job.end(by_itself ? "the machine is powered off" : "the machine is ended");
  co_await tear_down({});
}

std::shared_ptr<Job> Session::remove(bool data) {
  std::shared_ptr<Job> before = job_ && !job_->done() ? job_ : nullptr;
  if (before && before->kind() == Job::Kind::remove) return before;
  return run(Job::Kind::remove, [this, data, before](Job& job) { return do_remove(job, data, before); });
}

asio::awaitable<json::object> Session::do_remove(Job& job, bool data, std::shared_ptr<Job> before) {
  co_await do_stop(job, false, before);
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  job.begin("delete", "removing files");
  co_await remove_context();
  const std::uint64_t kept = allocated_bytes(paths_.data_disk);
  const bool keep = !data && kept > 0;
  for (const auto& entry : fs::directory_iterator(paths_.directory)) {
    // The lock goes last and the data only when asked for; the log is this daemon's own.
    if (entry.path() == paths_.lock || (keep && entry.path() == paths_.data_disk)) continue;
    fs::remove_all(entry.path());
  }
  if (!keep) fs::remove_all(paths_.directory);
  json::object result;
  result["summary"] = keep ? fmt::format("profile '{}' is deleted; its containers' data ({}) is kept in {}",
                                         paths_.name, ByteSize::bytes(kept).str(), paths_.data_disk.string())
                           : fmt::format("profile '{}' is deleted", paths_.name);
  job.end();
  co_return result;
}

// --- Docker context ------------------------------------------------------------------------------------------------

docker::Cli Session::docker_cli() const {
  docker::Cli cli;
  for (const auto& [name, value] : state_.docker_environment) cli.environment.push_back(name + "=" + value);
  return cli;
}

asio::awaitable<void> Session::switch_context(Job& job, const StartOrder& order) {
  const std::string name = docker::context_name(paths_.name);
  std::vector<std::string> environment;
  state_.docker_environment.clear();
  for (const auto& [variable, value] : order.environment) {
    environment.push_back(variable + "=" + value);
    if (variable == "HOME" || variable == "DOCKER_CONFIG") state_.docker_environment[variable] = value;
  }
  if (const auto hidden = docker::hidden_by(environment, name, paths_.docker_socket)) notes_.push_back(*hidden);

  const std::string hint = "export DOCKER_HOST=unix://" + paths_.docker_socket.string();
  job.begin("context", "switching the docker context");
  std::optional<docker::Activated> activated;
  std::string failure;
  try {
    activated = co_await docker::activate(docker_cli(), name, product_description(paths_.name), paths_.docker_socket);
  } catch (const Error& error) {
    failure = one_line(error);  // the machine works all the same: no reason to fail a start
  }
  if (activated) {
    state_.context = name;
    if (activated->previous != name) state_.previous_context = activated->previous;
    job.end("docker uses the context '" + name + "'");
  } else {
    notes_.push_back((failure.empty() ? "there is no docker command here" : failure) + "; use: " + hint);
    job.end("docker's context is not switched");
  }
  save_state(lock_, paths_, state_);
}

asio::awaitable<void> Session::restore_context() {
  if (state_.previous_context.empty()) co_return;
  try {
    co_await docker::restore(docker_cli(), state_.context, state_.previous_context);
    state_.previous_context.clear();
  } catch (const Error& error) {
    log::warn("the docker context could not be restored: {}", one_line(error));
  }
}

asio::awaitable<void> Session::remove_context() {
  if (state_.context.empty()) co_return;
  try {
    co_await docker::remove(docker_cli(), state_.context);
  } catch (const Error& error) {
    log::warn("the docker context could not be removed: {}", one_line(error));
  }
}

asio::awaitable<std::shared_ptr<Guest>> Session::guest() {
  // A daemon that was just started for this request is still taking the machine over.
  if (const auto job = job_) co_await job->ended();
  if (!link_) throw Error(Errc::not_running, "profile '" + paths_.name + "' is not running", "colima-like start");
  auto reached = co_await link_->guest(client_patience);
  co_return reached;
}

asio::awaitable<void> Session::detach() {
  if (job_ && !job_->done()) job_->cancel();
  if (forward_) co_await forward_->stop();
  if (link_) co_await link_->stop();
  co_await tasks_.stop();
}

}  // namespace cl
