#include "vm/qemu/driver.hpp"

#include <signal.h>

#include <fmt/format.h>
#include <algorithm>

#include "src/base/file.hpp"
#include "src/base/json.hpp"
#include "src/base/log.hpp"
#include "src/base/platform.hpp"
#include "src/base/unique_fd.hpp"
#include "vm/hash.hpp"
#include "vm/hypervisor.hpp"
#include "vm/qemu/binary.hpp"
#include "vm/qemu/command_line.hpp"
#include "vm/qemu/firmware.hpp"
#include "vm/qemu/machine.hpp"
#include "vm/qemu/memory_file.hpp"
#include "vm/qemu/virtiofsd.hpp"

namespace cl {
namespace fs = std::filesystem;
namespace json = boost::json;
namespace {

using Control = std::unique_ptr<QmpClient>;

/// What was appended to the log since it had `size` bytes.
std::string log_since(const fs::path& path, std::uintmax_t size) {
  const std::string all = read_file_if_exists(path).value_or("");
  return last_lines(std::string_view(all).substr(std::min<std::size_t>(size, all.size())), 8);
}

/// Sockets of an earlier machine. The caller holds the profile's lock, so nobody listens on them.
void remove_stale_sockets(const fs::path& run_directory) {
  std::error_code ignored;  // QEMU names what is in its way
  std::vector<SshPort> ports = ssh_ports(run_directory);
  ports.push_back(data_port(run_directory));
  for (SshPort& port : share_ports(run_directory)) ports.push_back(std::move(port));
  for (const SshPort& port : ports) {
    fs::remove(port.to_guest, ignored);
    fs::remove(port.from_guest, ignored);
  }
  fs::remove(qmp_socket(run_directory), ignored);
}

/// Connects as soon as QEMU has made its socket, some milliseconds after exec. No event tells this: the
/// directory's change comes before listen(), and macOS has no inotify. A child that ends interrupts it.
asio::awaitable<Control> connect_when_there(fs::path socket, std::chrono::milliseconds limit,
                                            std::shared_ptr<QemuNews> news) {
  constexpr std::chrono::milliseconds longest_pause{50};
  for (std::chrono::milliseconds pause{2};; pause = std::min(pause * 2, longest_pause)) {
    try {
      co_return co_await QmpClient::connect(socket, limit, record_news(news));
    } catch (const Error& error) {
      if (error.code() != Errc::not_found) throw;
    }
    co_await sleep_for(pause);
  }
}

/// The control connection of a QEMU that was just started, or Error{io} once it has ended.
asio::awaitable<Control> first_contact(Child& child, fs::path socket, std::chrono::milliseconds limit,
                                       std::shared_ptr<QemuNews> news) {
  auto executor = co_await asio::this_coro::executor;
  auto connecting = with_timeout(limit, "waiting for QEMU's control socket", connect_when_there(socket, limit, news));
  auto group = asio::experimental::make_parallel_group(asio::co_spawn(executor, std::move(connecting), asio::deferred),
                                                       asio::co_spawn(executor, child.wait(), asio::deferred));
  auto [order, failure, control, wait_failure, status] =
      co_await group.async_wait(asio::experimental::wait_for_one(), asio::use_awaitable);
  if (order[0] == 1 && !wait_failure) throw Error(Errc::io, "QEMU ended at once with " + status.str());
  if (failure) std::rethrow_exception(failure);
  co_return std::move(control);
}

QemuHost host_for(const BootPlan& plan, const QemuBinary& qemu) {
  QemuHost host{qemu.path, qemu.sandbox, {}, {}, -1};
  if (plan.boot == "efi") host.firmware = find_firmware(plan.arch, qemu.path);
  return host;
}

std::string status_of(const json::value& reply) {
  const std::string_view status = text_at(reply, "status");
  return std::string(status.empty() ? "unknown" : status);
}

/// Why QEMU, which says that it stopped at an error of a disk, did.
asio::awaitable<std::string> why_blocked(QmpClient& qmp) {
  const json::value disks = co_await qmp.execute("query-block");
  bool full = false;
  if (disks.is_array())
    for (const json::value& disk : disks.get_array()) full |= text_at(disk, "io-status") == "nospace";
  co_return full ? "no space left on device" : "an error of this computer's disk";
}

/// The daemon that wanted the machine saved is gone, but QEMU goes on with it, and would pause the machine at its end.
asio::awaitable<void> end_save(QmpClient& qmp) {
  for (bool told = false;; told = true) {
    const std::string save = status_of(co_await qmp.execute("query-migrate"));
    if (save == "unknown" || save == "none" || save == "completed" || save == "failed" || save == "cancelled")
      co_return;
    if (!told) co_await qmp.execute("migrate_cancel");
    co_await sleep_for(std::chrono::milliseconds(5));
  }
}

/// What a program does to itself; others come from a person or from the system.
bool is_crash(int signal) {
  return signal == SIGABRT || signal == SIGSEGV || signal == SIGBUS || signal == SIGILL || signal == SIGFPE;
}

}  // namespace

ExitReason qemu_exit_reason(std::string_view reason, std::optional<ExitStatus> status) {
  if (status && status->signal != 0)
    return {false, fmt::format("QEMU was killed by signal {}", status->signal), is_crash(status->signal)};
  if (status && status->code != 0)
    return {false, fmt::format("QEMU ended with an error ({}); the driver's log says why", status->str())};
  if (reason == "guest-shutdown") return {true, "the guest powered off"};
  if (reason == "host-qmp-quit") return {true, "QEMU was told to quit"};
  if (reason == "host-signal") return {false, "QEMU was ended by a signal from the host"};
  // Ends the machine only before Machine::allow_reboot(): the kernel panicked, most likely.
  if (reason == "guest-reset") return {false, "the guest rebooted before it was up; its console says why"};
  if (reason == "guest-panic") return {false, "the guest's kernel panicked"};
  if (!reason.empty()) return {false, fmt::format("QEMU ended ({})", reason)};
  return {false, "QEMU is gone without a word: it was killed, or it crashed"};
}

DriverTraits QemuDriver::traits() const {
  DriverTraits traits;
  traits.host_address = "10.0.2.2";  // in QEMU's user network
  return traits;
}

asio::awaitable<std::unique_ptr<Machine>> QemuDriver::boot(BootPlan plan) {
  auto executor = co_await asio::this_coro::executor;
  const std::string arch = plan.arch;
  const QemuBinary qemu = co_await find_qemu(arch);
  QemuHost host = host_for(plan, qemu);
  UniqueFd memory;
  if (!plan.shares.empty()) memory = make_memory_file(plan.memory);
  host.memory = memory.get();

  Command command;
  command.argv = qemu_command_line(plan, host);
  command.new_session = true;
  // A guest touches its memory here and there: with huge pages 2 MiB are cleared each time, which took 1.4 s of a
  // resume (0.2 s without) on a host that is a virtual machine itself. Emulation gains nothing from them; a real CPU
  // does.
  command.small_pages = plan.accel == Accel::tcg;
  if (plan.lock_fd >= 0) command.keep.push_back(plan.lock_fd);
  if (memory) command.keep.push_back(memory.get());
  const UniqueFd log_file = open_driver_log(plan.driver_log);
  command.output = command.errors = log_file.get();
  std::error_code ec;
  const std::uintmax_t log_size = fs::file_size(plan.driver_log, ec);
  remove_stale_sockets(plan.run_directory);
  std::vector<ShareServer> servers = co_await start_share_servers(plan, log_file.get());

  log::info("starting {} {} ({})", qemu.path.string(), qemu.version, to_string(plan.accel));
  if (!qemu.sandbox) log::warn("this QEMU was built without seccomp, and so has all system calls");
  std::exception_ptr failure;
  std::optional<Child> child;
  auto news = std::make_shared<QemuNews>(executor);
  Control control;
  try {
    child = Child::start(executor, command);
    memory = {};  // it is the machine's alone, and goes with it
    control = co_await first_contact(*child, qmp_socket(plan.run_directory), timings_.start, news);
  } catch (...) {
    failure = std::current_exception();
  }
  if (!failure) {
    const pid_t pid = child->pid();
    co_return std::make_unique<QemuMachine>(executor, plan.run_directory, pid, std::move(child), std::move(control),
                                            std::move(news), std::move(servers));
  }

  // Whatever went wrong, no process stays behind; not even a cancellation interrupts that.
  co_await asio::this_coro::throw_if_cancelled(false);
  if (child) {
    child->kill(SIGKILL);
    co_await uninterrupted(child->wait());
  }
  for (ShareServer& server : servers) co_await uninterrupted(end_share_server(server));
  co_await asio::this_coro::throw_if_cancelled(true);
  if (!child) std::rethrow_exception(failure);
  remove_stale_sockets(plan.run_directory);
  try {
    std::rethrow_exception(failure);
  } catch (const Error& error) {
    const std::string said = log_since(plan.driver_log, log_size);
    throw Error(error.code(), "QEMU did not start", "the whole of its messages is in " + plan.driver_log.string())
        .because(said.empty() ? one_line(error) : one_line(error) + "; its last lines:\n" + said);
  }
}

asio::awaitable<Saving> QemuDriver::saving(BootPlan plan) {
  const QemuBinary qemu = co_await find_qemu(plan.arch);
  constexpr int least_major_to_save = 9;  // mapped-ram
  if (qemu.major < least_major_to_save)
    co_return Saving{"", "QEMU " + qemu.version + " cannot save it to disk, which takes QEMU 9 or newer"};
  plan.incoming = false;
  const Saving shares = co_await share_saving(plan);
  if (!shares.why_not.empty()) co_return shares;
  std::string text = qemu.version;
  for (const std::string& word : qemu_command_line(plan, host_for(plan, qemu))) text += '\n' + word;
  text += shares.fingerprint;
  co_return Saving{sha256_hex(text), ""};
}

asio::awaitable<std::unique_ptr<Machine>> QemuDriver::attach(fs::path run_directory) {
  auto executor = co_await asio::this_coro::executor;
  auto news = std::make_shared<QemuNews>(executor);
  Control control;
  try {
    control = co_await QmpClient::connect(qmp_socket(run_directory), timings_.answer, record_news(news));
  } catch (const Error& error) {
    if (error.code() != Errc::not_found) throw;
  }
  if (!control) co_return nullptr;
  const pid_t pid = control->peer_pid();
  if (pid <= 0) throw Error(Errc::io, "cannot tell which process is the QEMU of " + run_directory.string());

  const json::value reply =
      co_await with_timeout(timings_.answer, "asking QEMU for its state", control->execute("query-status"));
  const std::string status = status_of(reply);
  QmpClient& qmp = *control;
  if (status == "io-error") {
    auto ask = why_blocked(qmp);
    news->blocked = co_await with_timeout(timings_.answer, "asking QEMU for its disks", std::move(ask));
  }
  std::vector<ShareServer> servers = co_await find_share_servers(run_directory);
  auto machine = std::make_unique<QemuMachine>(executor, run_directory, pid, std::nullopt, std::move(control), news,
                                               std::move(servers));
  log::info("took over QEMU, process {}, which is {}", pid, status);

  if (status == "internal-error" || status == "guest-panicked" || status == "shutdown" || status == "inmigrate") {
    log::warn("the machine cannot go on from '{}': ending it", status);
    machine->kill();
    co_await machine->exited();
    co_return nullptr;
  }
  if (status != "running") co_await with_timeout(timings_.answer, "ending a save", end_save(qmp));
  co_return machine;
}

bool QemuDriver::has_remains(const fs::path& run_directory) const { return share_servers_run(run_directory); }

asio::awaitable<void> QemuDriver::clean_up(fs::path run_directory) {
  return end_share_servers(std::move(run_directory));
}

}  // namespace cl
