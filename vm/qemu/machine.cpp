#include "vm/qemu/machine.hpp"

#include <fmt/format.h>
#include <signal.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/json/serialize.hpp>
#include <list>

#include "src/base/json.hpp"
#include "src/base/log.hpp"
#include "src/base/platform.hpp"
#include "vm/hypervisor.hpp"
#include "vm/qemu/command_line.hpp"
#include "vm/qemu/driver.hpp"
#include "vm/qemu/memory_file.hpp"

namespace cl {
namespace json = boost::json;

namespace {

bool is_true(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_bool() && value->get_bool();
}

/// "the disk data: No space left on device", by the disk's name in the command line.
std::string why_blocked(const json::object& event) {
  std::string_view disk = text_at(event, "node-name");
  if (const std::string_view name = text_at(event, "device"); disk.empty() && !name.empty()) disk = name;
  const std::string_view reason = text_at(event, "reason");
  return fmt::format("the disk {}: {}", disk.empty() ? "of the machine" : disk,
                     reason.empty() ? "an error of this computer's disk" : reason);
}

}  // namespace

QmpClient::OnEvent record_news(std::shared_ptr<QemuNews> news) {
  return [news = std::move(news)](std::string_view name, const json::object& data) {
    log::debug("QEMU: {} {}", name, json::serialize(data));
    if (name == "RESET" && is_true(data, "guest")) log::info("the guest reboots");
    if (name == "SHUTDOWN") {
      const std::string_view reason = text_at(data, "reason");
      news->shutdown_reason = reason.empty() ? "unknown" : reason;
    }
    if (name == "MIGRATION") {
      news->migration = text_at(data, "status");
    } else if (name == "BLOCK_IO_ERROR" && text_at(data, "action") == "stop") {
      news->blocked = why_blocked(data);
    } else if (name == "RESUME") {
      news->blocked.clear();
    } else {
      return;
    }
    news->changed.notify_all();
  };
}

struct QemuMachine::State {
  State(const asio::any_io_executor& executor, pid_t pid) : process(pid), gone(executor), killed(executor) {}

  std::filesystem::path run_directory;
  platform::Process process;
  std::optional<Child> child;
  std::unique_ptr<QmpClient> control;
  std::shared_ptr<QemuNews> news;
  Event gone;
  Event killed;  ///< its end is certain, but takes as long as a disk that it waits for
  ExitReason reason;
  asio::cancellation_signal stop_watching;

  struct Server {
    ShareServer of;
    asio::cancellation_signal stop_watching{};
  };
  std::list<Server> servers;
  std::vector<std::string> lost;  ///< tags that share_lost() has not told yet
};

namespace {

/// A QEMU that hangs answers nothing, and must not take whoever wants to end it along. One that only waits for a disk
/// answers late.
template <class State>
asio::awaitable<json::value> ask(std::shared_ptr<State> state, std::string command, json::object arguments = {}) {
  constexpr auto limit = std::chrono::seconds(30);
  std::string doing = "QEMU's answer to '" + command + "'";
  auto answer = state->control->execute(std::move(command), std::move(arguments));
  co_return co_await with_timeout(limit, std::move(doing), std::move(answer));
}

/// Waits for the process to end and then tells everybody who asked.
template <class State>
asio::awaitable<void> watch(std::shared_ptr<State> state) {
  std::optional<ExitStatus> status;
  if (state->child) {
    status = co_await state->child->wait();
  } else {
    co_await platform::wait_until_gone(state->process.pid());
  }
  // The event with the reason was sent before the end, but may still lie unread in the socket. QEMU's end of
  // it is closed now, so this takes no time.
  try {
    co_await with_timeout(std::chrono::seconds(2), "reading QEMU's last events", state->control->closed());
  } catch (const Error& error) {
    log::warn("{}", one_line(error));
  }
  // They end when QEMU hangs up; one that it had never talked to would wait for ever.
  for (typename State::Server& server : state->servers) co_await end_share_server(server.of);
  state->reason = qemu_exit_reason(state->news->shutdown_reason, status);
  log::info("{}", state->reason.text);
  state->gone.set();
  state->news->changed.notify_all();
}

/// Waits for a server to end; that of a machine which ended is no loss.
template <class State>
asio::awaitable<void> watch_server(std::shared_ptr<State> state, typename State::Server& server) {
  constexpr auto own_end = std::chrono::seconds(1);  // of QEMU, which hangs up before it is gone
  if (server.of.child) {
    co_await server.of.child->wait();
  } else {
    co_await platform::wait_until_gone(server.of.pid);
  }
  try {
    co_await with_timeout(own_end, "QEMU's end", state->gone.wait());
    co_return;
  } catch (const Error&) {
  }
  log::warn("the server of share {} is gone", server.of.tag);
  state->lost.push_back(server.of.tag);
  state->news->changed.notify_all();
}

/// What waits for a disk would otherwise outlast the kill of a QEMU that waits for the same one.
template <class State>
asio::awaitable<void> unless_killed(std::shared_ptr<State> state, asio::awaitable<void> work) {
  const auto executor = co_await asio::this_coro::executor;
  auto both = asio::experimental::make_parallel_group(asio::co_spawn(executor, std::move(work), asio::deferred),
                                                      asio::co_spawn(executor, state->killed.wait(), asio::deferred));
  auto [order, failure, unused] = co_await both.async_wait(asio::experimental::wait_for_one(), asio::use_awaitable);
  if (order[0] == 1 && state->killed.is_set()) throw Error(Errc::io, "QEMU was ended meanwhile");
  if (failure) std::rethrow_exception(failure);
}

}  // namespace

QemuMachine::QemuMachine(const asio::any_io_executor& executor, std::filesystem::path run_directory, pid_t pid,
                         std::optional<Child> child, std::unique_ptr<QmpClient> control, std::shared_ptr<QemuNews> news,
                         std::vector<ShareServer> servers)
    : state_(std::make_shared<State>(executor, pid)) {
  state_->run_directory = std::move(run_directory);
  state_->child = std::move(child);
  state_->control = std::move(control);
  state_->news = std::move(news);
  spawn_watch(executor, state_, "QEMU", watch(state_));
  for (ShareServer& server : servers) state_->servers.emplace_back().of = std::move(server);
  for (State::Server& server : state_->servers) {
    if (!server.of.child && server.of.pid == 0) {
      state_->lost.push_back(server.of.tag);
      continue;
    }
    auto on_server_end = [state = state_](std::exception_ptr) {};
    asio::co_spawn(executor, watch_server(state_, server),
                   asio::bind_cancellation_slot(server.stop_watching.slot(), std::move(on_server_end)));
  }
}

QemuMachine::~QemuMachine() {
  state_->control->close();
  state_->stop_watching.emit(asio::cancellation_type::terminal);
  for (State::Server& server : state_->servers) server.stop_watching.emit(asio::cancellation_type::terminal);
}

pid_t QemuMachine::pid() const noexcept { return state_->process.pid(); }

std::vector<SshPort> QemuMachine::ssh_ports() const { return cl::ssh_ports(state_->run_directory); }
std::optional<SshPort> QemuMachine::data_port() const { return cl::data_port(state_->run_directory); }
std::vector<SshPort> QemuMachine::share_ports() const { return cl::share_ports(state_->run_directory); }

asio::awaitable<void> QemuMachine::allow_reboot() {
  json::object action{{"reboot", "reset"}};
  co_await ask(state_, "set-action", std::move(action));
}

asio::awaitable<void> QemuMachine::pause() { co_await ask(state_, "stop"); }

asio::awaitable<void> QemuMachine::resume() { co_await ask(state_, "cont"); }

/// mapped-ram gives each page a fixed place in the file: zero pages stay holes, and several threads write and read at
/// once (0.3 s instead of 0.4 s for 350 MB here). QEMU has it since 9.0.
asio::awaitable<void> QemuMachine::set_up_migration(bool without_memory) {
  json::array capabilities;
  for (const auto& [name, wanted] : {std::pair("events", true),
                                     {"mapped-ram", !without_memory},
                                     {"multifd", !without_memory},
                                     {"x-ignore-shared", without_memory}})
    capabilities.push_back(json::object{{"capability", name}, {"state", wanted}});
  json::object arguments{{"capabilities", std::move(capabilities)}};
  co_await ask(state_, "migrate-set-capabilities", std::move(arguments));
  json::object parameters{{"multifd-channels", 2}, {"max-bandwidth", std::int64_t{1} << 40}};
  co_await ask(state_, "migrate-set-parameters", std::move(parameters));
}

/// Runs "migrate" or "migrate-incoming" with a file to its end. With the memory in a file of its own only the devices'
/// state comes and goes by QEMU, behind the place of the memory.
asio::awaitable<void> QemuMachine::migrate(std::string command, std::filesystem::path file, int memory) {
  auto state = state_;
  co_await set_up_migration(memory >= 0);
  const std::uint64_t offset = memory >= 0 ? size_of_memory(memory) : 0;
  state->news->migration.clear();
  const json::object address{{"transport", "file"}, {"filename", file.string()}, {"offset", offset}};
  const json::object channel{{"channel-type", "main"}, {"addr", address}};
  json::object arguments{{"channels", json::array{channel}}};
  co_await ask(state, std::move(command), std::move(arguments));
  while (state->news->migration != "completed") {
    if (state->gone.is_set()) throw Error(Errc::io, "QEMU ended meanwhile").because(state->reason.text);
    if (state->news->migration == "failed") {
      const json::value told = co_await ask(state, "query-migrate");
      const std::string_view why = text_at(told, "error-desc");
      throw Error(Errc::io, std::string(why.empty() ? "QEMU does not say why" : why));
    }
    co_await state->news->changed.wait();
  }
}

asio::awaitable<void> QemuMachine::save(std::filesystem::path file) {
  co_await unless_killed(state_, save_paused(std::move(file)));
}

asio::awaitable<void> QemuMachine::load(std::filesystem::path file) {
  co_await unless_killed(state_, load_paused(std::move(file)));
}

asio::awaitable<void> QemuMachine::save_paused(std::filesystem::path file) {
  auto state = state_;
  const auto memory = std::make_shared<UniqueFd>(memory_file_of(pid()));
  co_await migrate("migrate", file, memory->get());
  if (*memory) co_await write_memory(memory, file);
  co_await ask(state, "quit");
  co_await state->gone.wait();
}

asio::awaitable<void> QemuMachine::load_paused(std::filesystem::path file) {
  const auto memory = std::make_shared<UniqueFd>(memory_file_of(pid()));
  if (*memory) co_await read_memory(file, memory);
  co_await migrate("migrate-incoming", file, memory->get());
}

asio::awaitable<void> QemuMachine::power_off() {
  auto state = state_;
  co_await ask(state, "system_powerdown");
  // Machines without ACPI have a power key instead (command_line.cpp); the others have no keyboard, and it is lost.
  json::object key{{"type", "qcode"}, {"data", "power"}};
  json::object arguments{{"keys", json::array{key}}};
  try {
    co_await ask(state, "send-key", std::move(arguments));
  } catch (const Error& error) {
    log::info("no power key was pressed: {}", one_line(error));  // the machine may be off by now
  }
}

void QemuMachine::kill() noexcept {
  if (state_->gone.is_set()) return;
  state_->process.kill(SIGKILL);
  state_->killed.set();
}

asio::awaitable<std::string> QemuMachine::share_lost() {
  auto state = state_;
  while (state->lost.empty() && !state->gone.is_set()) co_await state->news->changed.wait();
  if (state->lost.empty()) co_return std::string();
  std::string tag = std::move(state->lost.front());
  state->lost.erase(state->lost.begin());
  co_return tag;
}

asio::awaitable<std::string> QemuMachine::blocked() {
  auto state = state_;
  while (state->news->blocked.empty() && !state->gone.is_set()) co_await state->news->changed.wait();
  co_return state->gone.is_set() ? std::string() : state->news->blocked;
}

asio::awaitable<ExitReason> QemuMachine::exited() {
  auto state = state_;  // the machine may go while somebody waits
  co_await state->gone.wait();
  co_return state->reason;
}

}  // namespace cl
