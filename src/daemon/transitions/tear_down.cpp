#include <system_error>

#include "src/base/blocking.hpp"
#include "src/base/failure.hpp"
#include "src/base/file.hpp"
#include "src/base/log.hpp"
#include "src/daemon/core.hpp"
#include "src/daemon/transitions/transitions.hpp"

namespace cl::transition {
namespace {

/// A hypervisor that was killed leaves its sockets. What cannot be removed (a foreign folder) is in nobody's way.
void remove_sockets(const ProfilePaths& paths) {
  std::error_code ec;
  for (fs::directory_iterator entry(paths.run_directory, ec), end; !ec && entry != end; entry.increment(ec)) {
    std::error_code ignored;
    if (entry->path() != paths.control_socket) fs::remove(entry->path(), ignored);
  }
}

/// In this order: what still runs is found by its files.
asio::awaitable<void> clean_up(Core& core) {
  if (core.driver->has_remains(core.paths.run_directory)) co_await core.driver->clean_up(core.paths.run_directory);
  co_await blocking([paths = core.paths] { remove_sockets(paths); });
}

}  // namespace

asio::awaitable<void> tear_down(Core& core, std::string reason) {
  const bool had_machine = machine_of(core.phase()).has_value();
  const bool saved = core.saved.exists();
  co_await core.close_services(saved);
  // One that lives and was never reached keeps what whoever tries next needs.
  if (!had_machine && FileLock::is_held(core.paths.machine_lock)) {
    if (!is<phase::Unreachable>(core.phase())) core.enter(phase::Unreachable{}, std::move(reason));
    co_return;
  }
  State& state = core.store.edit();
  state.machine_pid = 0;
  if (!saved) {
    state.shares.clear();
    state.share_devices.clear();
  }
  // The phase first: whatever becomes of the cleaning, there is no machine.
  if (saved && !is<phase::Saved>(core.phase())) core.enter(phase::Saved{}, std::move(reason));
  if (!saved && !is<phase::Stopped>(core.phase())) core.enter(phase::Stopped{}, std::move(reason));
  co_await attempt("cleaning up after the hypervisor", clean_up(core));
  // Clients of a suspended machine wake it.
  if (saved) co_await core.open_for_wake();
}

asio::awaitable<void> end_hypervisor(Core& core) {
  const auto machine = machine_of(core.phase());
  if (!machine) co_return;
  (*machine)->kill();
  machine->set_ended(co_await (*machine)->exited());
}

asio::awaitable<void> discard_saved(Core& core) {
  auto discard = [saved = core.saved]() mutable { saved.discard(); };
  co_await attempt("removing the saved machine", blocking(std::move(discard)));
}

}  // namespace cl::transition
