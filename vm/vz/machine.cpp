#include "vm/vz/machine.hpp"

#include <fmt/format.h>
#include <signal.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include "src/base/file.hpp"
#include "src/base/log.hpp"
#include "src/base/platform.hpp"
#include "vm/hypervisor.hpp"
#include "vm/vz/command_line.hpp"
#include "vm/vz/rest.hpp"

namespace cl {
namespace fs = std::filesystem;

struct VzMachine::State {
  State(const asio::any_io_executor& executor, pid_t pid) : process(pid), gone(executor) {}

  VzFacts facts;
  platform::Process process;
  std::optional<Child> child;
  Event gone;
  ExitReason reason;
  asio::cancellation_signal stop_watching;
};

namespace {

/// Waits for the process to end and then tells everybody who asked.
template <class State>
asio::awaitable<void> watch(std::shared_ptr<State> state) {
  std::optional<ExitStatus> status;
  if (state->child) {
    status = co_await state->child->wait();
  } else {
    co_await platform::wait_until_gone(state->process.pid());
  }
  state->reason = vfkit_exit_reason(status, tail_lines(state->facts.console_log, 5));
  log::info("{}", state->reason.text);
  state->gone.set();
}

Error cannot_save() { return Error(Errc::internal, "vfkit machines are neither saved nor loaded"); }

}  // namespace

ExitReason vfkit_exit_reason(std::optional<ExitStatus> status, std::string_view console_end) {
  if (status && status->signal != 0) return {false, fmt::format("vfkit was killed by signal {}", status->signal)};
  if (status && status->code != 0)
    return {false, fmt::format("vfkit ended with an error ({}); the driver's log says why", status->str())};
  // systemd's last words, and Linux's: a virtio console is gone by then in newer kernels.
  bool powered_down = false;
  for (const std::string_view words : {"systemd-shutdown[1]: Powering off", "reboot: Power down"})
    powered_down = powered_down || console_end.find(words) != std::string_view::npos;
  if (status || powered_down) return {true, "the guest powered off"};
  return {false, "vfkit is gone without a word: it was killed, or it crashed"};
}

VzMachine::VzMachine(const asio::any_io_executor& executor, VzFacts facts, pid_t pid, std::optional<Child> child)
    : state_(std::make_shared<State>(executor, pid)) {
  state_->facts = std::move(facts);
  state_->child = std::move(child);
  spawn_watch(executor, state_, "vfkit", watch(state_));
}

VzMachine::~VzMachine() { state_->stop_watching.emit(asio::cancellation_type::terminal); }

pid_t VzMachine::pid() const noexcept { return state_->process.pid(); }

std::string VzMachine::rosetta_refused() const { return state_->facts.rosetta_refused; }

std::vector<SshPort> VzMachine::ssh_ports() const {
  const fs::path socket = vsock_socket(state_->facts.run_directory);
  return {{socket, socket}, {socket, socket}};
}

asio::awaitable<void> VzMachine::allow_reboot() { co_return; }

asio::awaitable<void> VzMachine::wait_for(std::string wanted) {
  auto state = state_;
  auto reach = [](std::shared_ptr<State> of, std::string name) -> asio::awaitable<void> {
    const fs::path socket = vfkit_socket(of->facts.run_directory);
    for (;;) {
      const vfkit::VmState now = co_await vfkit::state(socket, of->facts.answer);
      if (now.name == name) co_return;
      co_await sleep_for(std::chrono::milliseconds(10));
    }
  };
  co_await with_timeout(state->facts.answer, "the machine's change to " + wanted, reach(state, wanted));
}

asio::awaitable<void> VzMachine::pause() {
  auto state = state_;
  co_await vfkit::change(vfkit_socket(state->facts.run_directory), "Pause", state->facts.answer);
  co_await wait_for("Paused");
}

asio::awaitable<void> VzMachine::resume() {
  auto state = state_;
  const fs::path socket = vfkit_socket(state->facts.run_directory);
  const vfkit::VmState now = co_await vfkit::state(socket, state->facts.answer);
  if (now.name == "Running") co_return;  // it refuses to go on when it does
  if (now.can_resume) co_await vfkit::change(socket, "Resume", state->facts.answer);
  co_await wait_for("Running");
}

asio::awaitable<void> VzMachine::save(fs::path) {
  throw cannot_save();
  co_return;
}

asio::awaitable<void> VzMachine::load(fs::path) {
  throw cannot_save();
  co_return;
}

asio::awaitable<void> VzMachine::power_off() {
  auto state = state_;
  try {
    co_await vfkit::change(vfkit_socket(state->facts.run_directory), "Stop", state->facts.answer);
  } catch (const Error& error) {
    if (error.code() == Errc::not_found) throw;
    log::info("{}", one_line(error));
  }
}

void VzMachine::kill() noexcept {
  if (!state_->gone.is_set()) state_->process.kill(SIGKILL);
}

asio::awaitable<std::string> VzMachine::share_lost() {
  auto state = state_;
  co_await state->gone.wait();
  co_return std::string();
}

asio::awaitable<ExitReason> VzMachine::exited() {
  auto state = state_;  // the machine may go while somebody waits
  co_await state->gone.wait();
  co_return state->reason;
}

}  // namespace cl
