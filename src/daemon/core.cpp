#include "src/daemon/core.hpp"

#include <algorithm>
#include <ctime>
#include <ranges>

#include "src/base/failure.hpp"
#include "src/base/log.hpp"

namespace cl {
namespace {

/// It may end, as what it watches does, but not fail.
asio::awaitable<void> guard(Core& core, std::string name, asio::awaitable<void> work) {
  const auto failure = co_await failure_of(std::move(work));
  if (failure) core.fatal(name + " failed: " + one_line(*failure));
}

}  // namespace

Core::Core(asio::any_io_executor executor_, Home home_, ProfilePaths paths_, FileLock lock_, Parts parts_)
    : executor(executor_),
      home(std::move(home_)),
      paths(std::move(paths_)),
      lock(std::move(lock_)),
      parts(std::move(parts_)),
      store(executor, lock, paths),
      saved(paths.saved_directory),
      driver(parts.driver(state().driver.empty() ? "qemu" : state().driver)),
      docker_client(*this),
      engine_socket(*this),
      guest(*this),
      egress(*this),
      host_names(*this),
      forwards(*this),
      shares(*this),
      host_sockets(*this),
      file_events(*this),
      bound_files(*this),
      ports(*this),
      data_path(*this),
      runtime_watch(*this),
      trim(*this),
      clock(*this),
      idle(*this),
      machine_watch(*this),
      changed_(executor),
      tasks_(executor) {}

void Core::enter(Phase next, std::string reason) noexcept {
  const std::string_view word = to_string(next);
  if (!may_follow(phase_, next)) log::error("bug: {} follows {}", word, to_string(phase_));
  log::info("{} -> {}{}", to_string(phase_), word, reason.empty() ? "" : ": " + reason);
  State& to = store.edit();
  if (to.phase != word) to.since = std::time(nullptr);
  to.phase = word;
  to.reason = std::move(reason);
  if (!is<phase::Saved, phase::Paused>(next)) to.asleep = false;
  phase_ = std::move(next);
  idle.look_again();
  notify();
}

asio::awaitable<void> Core::forget_machine() {
  for (Service* service :
       {static_cast<Service*>(&machine_watch), static_cast<Service*>(&data_path), static_cast<Service*>(&host_sockets),
        static_cast<Service*>(&shares), static_cast<Service*>(&egress), static_cast<Service*>(&guest)})
    co_await attempt("closing " + std::string(service->name()), service->close());
  store.edit().machine_pid = 0;
}

asio::awaitable<void> Core::for_each(Change change, bool reverse) {
  if (reverse) {
    for (Service* service : services_ | std::views::reverse) co_await (service->*change)();
  } else {
    for (Service* service : services_) co_await (service->*change)();
  }
}

asio::awaitable<void> Core::with_limit(std::string doing, Change change, bool reverse) {
  co_await with_timeout(parts.patience.services, std::move(doing), for_each(change, reverse));
}

asio::awaitable<void> Core::open_services() { return with_limit("opening what the machine offers", &Service::open); }

asio::awaitable<void> Core::services_ready() {
  return with_limit("connecting to what the guest offers", &Service::ready);
}

asio::awaitable<void> Core::quiesce_services() {
  return with_limit("bringing the connections to the guest to rest", &Service::quiesce, true);
}

asio::awaitable<void> Core::detach_services() {
  return with_limit("taking in what the saved guest had sent", &Service::detach);
}

asio::awaitable<void> Core::reattach_services() {
  return with_limit("connecting to the machine that is to be resumed", &Service::reattach);
}

asio::awaitable<void> Core::resume_services() {
  return with_limit("going on with the connections to the guest", &Service::resume);
}

asio::awaitable<void> Core::close_services(bool for_wake) {
  for (Service* service : services_ | std::views::reverse) {
    if (for_wake && (service == &engine_socket || service == &forwards || service == &docker_client)) continue;
    // One that fails has closed nothing; the next one is closed all the same.
    co_await attempt("closing " + std::string(service->name()), service->close());
    describe(*service);
  }
}

asio::awaitable<void> Core::open_for_wake() {
  co_await attempt("the suspended machine cannot be woken by its socket", engine_socket.open());
  co_await attempt("the suspended machine cannot be woken by its forwards", forwards.open());
}

asio::awaitable<void> Core::close_for_wake() {
  co_await attempt("closing the forwards", forwards.close());
  describe(forwards);
  co_await attempt("closing the engine's socket", engine_socket.close());
}

void Core::describe(const Service& service) noexcept { service.describe(store.edit()); }

void Core::spawn_permanent(TaskGroup& tasks, std::string name, asio::awaitable<void> work) {
  tasks.on_permanent_end([this](const Error& error) { fatal(one_line(error)); });
  tasks.spawn_permanent(std::move(name), std::move(work));
}

void Core::spawn_watch(TaskGroup& tasks, std::string name, asio::awaitable<void> work) {
  auto guarded = guard(*this, name, std::move(work));
  tasks.spawn(std::move(name), std::move(guarded));
}

asio::awaitable<void> Core::stop() {
  co_await tasks_.stop();
  co_await store.stop();
}

}  // namespace cl
