#include "vm/qemu/machine.hpp"

#include <signal.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/json/serialize.hpp>

#include "src/base/log.hpp"
#include "src/base/platform.hpp"
#include "src/base/unique_fd.hpp"
#include "vm/qemu/command_line.hpp"
#include "vm/qemu/driver.hpp"

namespace cl {
namespace json = boost::json;
namespace {

/// A descriptor that means this process and no later one with its number; empty where there is no such thing.
UniqueFd open_process([[maybe_unused]] pid_t pid) {
#ifdef __linux__
  return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
#else
  return {};
#endif
}

}  // namespace

QmpClient::OnEvent record_news(std::shared_ptr<QemuNews> news) {
  return [news = std::move(news)](std::string_view name, const json::object& data) {
    log::debug("QEMU: {} {}", name, json::serialize(data));
    const json::value* by_guest = data.if_contains("guest");
    if (name == "RESET" && by_guest != nullptr && *by_guest == true) log::info("the guest reboots");
    if (name == "MIGRATION") {
      news->migration = data.at("status").as_string();
      news->changed.notify_all();
    }
    if (name != "SHUTDOWN") return;
    const json::value* reason = data.if_contains("reason");
    news->shutdown_reason =
        reason != nullptr && reason->is_string() ? std::string_view(reason->get_string()) : "unknown";
  };
}

struct QemuMachine::State {
  explicit State(const asio::any_io_executor& executor) : gone(executor) {}

  std::filesystem::path run_directory;
  pid_t pid = 0;
  UniqueFd process;
  std::optional<Child> child;
  std::unique_ptr<QmpClient> control;
  std::shared_ptr<QemuNews> news;
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
    co_await platform::wait_until_gone(state->pid);
  }
  // The event with the reason was sent before the end, but may still lie unread in the socket. QEMU's end of
  // it is closed now, so this takes no time.
  try {
    co_await with_timeout(std::chrono::seconds(2), "reading QEMU's last events", state->control->closed());
  } catch (const Error& error) {
    log::warn("{}", one_line(error));
  }
  state->reason = qemu_exit_reason(state->news->shutdown_reason, status);
  log::info("{}", state->reason.text);
  state->gone.set();
  state->news->changed.notify_all();
}

}  // namespace

QemuMachine::QemuMachine(const asio::any_io_executor& executor, std::filesystem::path run_directory, pid_t pid,
                         std::optional<Child> child, std::unique_ptr<QmpClient> control, std::shared_ptr<QemuNews> news)
    : state_(std::make_shared<State>(executor)) {
  state_->run_directory = std::move(run_directory);
  state_->pid = pid;
  state_->process = open_process(pid);
  state_->child = std::move(child);
  state_->control = std::move(control);
  state_->news = std::move(news);
  // Not a TaskGroup: its owner must await its end, and a machine is dropped without ado when a daemon goes.
  auto on_end = [state = state_](std::exception_ptr failure) {
    if (!failure || state->gone.is_set()) return;
    try {
      std::rethrow_exception(failure);
    } catch (const boost::system::system_error& error) {
      if (error.code() == asio::error::operation_aborted) return;
      state->reason.text = std::string("QEMU can no longer be watched: ") + error.what();
    } catch (const std::exception& error) {
      state->reason.text = std::string("QEMU can no longer be watched: ") + error.what();
    }
    log::error("{}", state->reason.text);
    state->gone.set();
  };
  asio::co_spawn(executor, watch(state_),
                 asio::bind_cancellation_slot(state_->stop_watching.slot(), std::move(on_end)));
}

QemuMachine::~QemuMachine() {
  state_->control->close();
  state_->stop_watching.emit(asio::cancellation_type::terminal);
}

pid_t QemuMachine::pid() const noexcept { return state_->pid; }

std::vector<SshPort> QemuMachine::ssh_ports() const { return cl::ssh_ports(state_->run_directory); }

asio::awaitable<void> QemuMachine::allow_reboot() {
  json::object action{{"reboot", "reset"}};
  co_await state_->control->execute("set-action", std::move(action));
}

asio::awaitable<void> QemuMachine::pause() { co_await state_->control->execute("stop"); }

asio::awaitable<void> QemuMachine::resume() { co_await state_->control->execute("cont"); }

/// mapped-ram gives each page a fixed place in the file: zero pages stay holes, and several threads write and read at
/// once (0.3 s instead of 0.4 s for 350 MB here). QEMU has it since 9.0.
asio::awaitable<void> QemuMachine::set_up_migration() {
  json::array capabilities;
  for (const char* name : {"events", "mapped-ram", "multifd"})
    capabilities.push_back(json::object{{"capability", name}, {"state", true}});
  json::object arguments{{"capabilities", std::move(capabilities)}};
  co_await state_->control->execute("migrate-set-capabilities", std::move(arguments));
  json::object parameters{{"multifd-channels", 2}, {"max-bandwidth", std::int64_t{1} << 40}};
  co_await state_->control->execute("migrate-set-parameters", std::move(parameters));
}

/// Runs "migrate" or "migrate-incoming" with a file to its end.
asio::awaitable<void> QemuMachine::migrate(std::string command, std::filesystem::path file) {
  auto state = state_;
  co_await set_up_migration();
  state->news->migration.clear();
  const json::object address{{"transport", "file"}, {"filename", file.string()}, {"offset", 0}};
  const json::object channel{{"channel-type", "main"}, {"addr", address}};
  json::object arguments{{"channels", json::array{channel}}};
  co_await state->control->execute(std::move(command), std::move(arguments));
  while (state->news->migration != "completed") {
    if (state->gone.is_set()) throw Error(Errc::io, "QEMU ended meanwhile").because(state->reason.text);
    if (state->news->migration == "failed") {
      const json::value told = co_await state->control->execute("query-migrate");
      const json::value* why = told.as_object().if_contains("error-desc");
      throw Error(Errc::io, why != nullptr ? std::string(why->as_string()) : std::string("QEMU does not say why"));
    }
    co_await state->news->changed.wait();
  }
}

asio::awaitable<void> QemuMachine::save(std::filesystem::path file) {
  auto state = state_;
  co_await migrate("migrate", std::move(file));
  co_await state->control->execute("quit");
  co_await state->gone.wait();
}

asio::awaitable<void> QemuMachine::load(std::filesystem::path file) {
  return migrate("migrate-incoming", std::move(file));
}

asio::awaitable<void> QemuMachine::power_off() {
  auto state = state_;
  co_await state->control->execute("system_powerdown");
  // Machines without ACPI have a power key instead (command_line.cpp); the others have no keyboard, and it is lost.
  json::object key{{"type", "qcode"}, {"data", "power"}};
  json::object arguments{{"keys", json::array{key}}};
  try {
    co_await state->control->execute("send-key", std::move(arguments));
  } catch (const Error& error) {
    log::info("no power key was pressed: {}", one_line(error));  // the machine may be off by now
  }
}

void QemuMachine::kill() noexcept {
  if (state_->gone.is_set()) return;
#ifdef __linux__
  if (state_->process) {
    ::syscall(SYS_pidfd_send_signal, state_->process.get(), SIGKILL, nullptr, 0);
    return;
  }
#endif
  // Without such a descriptor: the number still means QEMU if we have not reaped it, or it still talks to us.
  if (state_->child || state_->control->is_open()) ::kill(state_->pid, SIGKILL);
}

asio::awaitable<ExitReason> QemuMachine::exited() {
  auto state = state_;  // the machine may go while somebody waits
  co_await state->gone.wait();
  co_return state->reason;
}

}  // namespace cl
