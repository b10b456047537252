#include "src/daemon/services/machine_watch.hpp"

#include <algorithm>
#include <utility>

#include "src/base/blocking.hpp"
#include "src/base/cut_file.hpp"
#include "src/base/failure.hpp"
#include "src/base/file.hpp"
#include "src/base/log.hpp"
#include "src/daemon/core.hpp"

namespace cl {
namespace {

constexpr auto look_again = std::chrono::seconds(1);  // for room on the disk: no system tells of that
constexpr auto look_at_console = std::chrono::seconds(10);
constexpr std::uint64_t most_console = 8ULL << 20;
constexpr std::uint64_t room_to_go_on = 64ULL << 20;  // less would be used up at once

/// On the file systems that the guest's disks are on.
asio::awaitable<std::uint64_t> room_for(const ProfilePaths& paths) {
  auto look = [data = paths.data_disk, directory = paths.directory] {
    std::error_code ignored;
    const std::uint64_t here = free_space(directory);
    return fs::exists(data, ignored) ? std::min(here, free_space(data)) : here;
  };
  co_return co_await blocking(std::move(look));
}

}  // namespace

asio::awaitable<void> MachineWatch::open() {
  const auto machine = machine_of(core_.phase());
  if (!machine || (watched_ && *watched_ == *machine)) co_return;
  co_await close();
  watched_ = machine;
  tasks_ = std::make_unique<TaskGroup>(core_.executor);
  core_.spawn_watch(*tasks_, "the hypervisor's end", follow_end(*machine));
  core_.spawn_watch(*tasks_, "share servers", follow_shares(*machine));
  core_.spawn_watch(*tasks_, "the hypervisor's pauses", follow_pauses(*machine));
  core_.spawn_watch(*tasks_, "the console's file", cut_console());
}

asio::awaitable<void> MachineWatch::close() {
  const auto tasks = std::exchange(tasks_, nullptr);
  watched_.reset();
  if (tasks) co_await tasks->stop();
}

asio::awaitable<void> MachineWatch::follow_end(LiveMachine machine) {
  ExitReason reason = co_await machine->exited();
  log::info("the machine ended: {}", reason.text);
  machine.set_ended(reason);
  // The end of a suspend that went well is not one of the machine.
  if (is<phase::Suspending>(core_.phase()) && reason.clean) co_return;
  core_.guest.give_up(Error(Errc::guest_failed, "the machine ended", "colima-like start").because(reason.text));
  core_.machine_ended(machine);
}

asio::awaitable<void> MachineWatch::follow_shares(LiveMachine machine) {
  for (;;) {
    const std::string tag = co_await machine->share_lost();
    if (tag.empty() || machine.ended()) co_return;
    core_.shares.server_lost(tag);
  }
}

asio::awaitable<void> MachineWatch::follow_pauses(LiveMachine machine) {
  for (;;) {
    const std::string why = co_await machine->blocked();
    if (why.empty() || machine.ended()) co_return;
    const std::string reason = "the machine cannot write to its disk on this computer: " + why;
    log::error("{}", reason);
    if (is<phase::Running, phase::Degraded>(core_.phase())) core_.enter(phase::Blocked{machine}, reason);
    if (is<phase::Stopping>(core_.phase())) {
      core_.store.edit().reason = reason;
      core_.say(reason + "; make room there, or it is ended");
    }
    co_await unblock(machine);
  }
}

asio::awaitable<void> MachineWatch::cut_console() {
  for (;;) {
    co_await sleep_for(look_at_console);
    auto cut = [file = core_.paths.console_log] { cut_appended_file(file, most_console); };
    co_await attempt("the console's file could not be cut", blocking(std::move(cut)));
  }
}

/// Lets the guest go on as soon as there is room. It is stopped again at once where that does not help.
asio::awaitable<void> MachineWatch::unblock(LiveMachine machine) {
  for (;;) {
    const std::uint64_t room = co_await room_for(core_.paths);
    if (room >= room_to_go_on) {
      const auto failure = co_await failure_of(machine->resume());
      if (!failure) break;
      log::warn("the blocked machine does not go on: {}", one_line(*failure));
    }
    co_await sleep_for(look_again);
    if (machine.ended()) co_return;
  }
  log::info("the machine goes on");
  if (is<phase::Stopping>(core_.phase())) core_.store.edit().reason.clear();
  if (!is<phase::Blocked>(core_.phase())) co_return;
  if (core_.guest.connected()) {
    core_.enter(phase::Running{machine});
  } else {
    core_.enter(phase::Degraded{machine}, "the guest does not answer");
  }
  co_await core_.guest.try_set_clock();
}

}  // namespace cl
