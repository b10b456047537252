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
      shares(*this),
      file_events(*this),
      ports(*this),
      data_path(*this),
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
  for (Service* service : {static_cast<Service*>(&machine_watch), static_cast<Service*>(&data_path),
                           static_cast<Service*>(&shares), static_cast<Service*>(&guest)})
    co_await attempt("closing " + std::string(service->name()), service->close());
  store.edit().machine_pid = 0;
}

asio::awaitable<void> Core::open_services() {
  for (Service* service : services_) co_await service->open();
}

asio::awaitable<void> Core::services_ready() {
  for (Service* service : services_) co_await service->ready();
}

asio::awaitable<void> Core::quiesce_services() {
  for (Service* service : services_ | std::views::reverse) co_await service->quiesce();
}

asio::awaitable<void> Core::detach_services() {
  for (Service* service : services_) co_await service->detach();
}

asio::awaitable<void> Core::reattach_services() {
  for (Service* service : services_) co_await service->reattach();
}

asio::awaitable<void> Core::resume_services() {
  for (Service* service : services_) co_await service->resume();
}

asio::awaitable<void> Core::close_services(bool for_wake) {
  for (Service* service : services_ | std::views::reverse) {
    if (for_wake && (service == &engine_socket || service == &docker_client)) continue;
    // One that fails has closed nothing; the next one is closed all the same.
    co_await attempt("closing " + std::string(service->name()), service->close());
    describe(*service);
  }
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
