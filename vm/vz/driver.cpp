#include "vm/vz/driver.hpp"

#include <signal.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <optional>

#include "src/base/file.hpp"
#include "src/base/host.hpp"
#include "src/base/log.hpp"
#include "src/base/net/unix_socket.hpp"
#include "src/base/platform.hpp"
#include "src/base/unique_fd.hpp"
#include "vm/hypervisor.hpp"
#include "vm/vz/binary.hpp"
#include "vm/vz/command_line.hpp"
#include "vm/vz/cpio.hpp"
#include "vm/vz/machine.hpp"
#include "vm/vz/rest.hpp"

namespace cl {
namespace fs = std::filesystem;
namespace json = boost::json;

/// How one start of vfkit went.
struct VzDriver::Attempt {
  std::optional<Child> child;    ///< it runs
  std::exception_ptr failure;    ///< or why not
  bool ended_by_itself = false;  ///< then an exit code told so
  std::string said;              ///< the last lines of its messages
};

namespace {

using std::chrono::milliseconds;

/// Sockets of an earlier machine: vfkit ends when its own is in the way, and with the other it only warns. The caller
/// holds the profile's lock, so nobody listens on them.
void remove_stale_sockets(const fs::path& run_directory) {
  std::error_code ignored;  // vfkit names what is in its way
  fs::remove(vfkit_socket(run_directory), ignored);
  fs::remove(vsock_socket(run_directory), ignored);
}

/// vfkit has no fw_cfg and no SMBIOS strings: the credentials come with the initrd, whose /init hands them to PID 1.
void write_initrd(const BootPlan& plan) {
  if (plan.kernel.empty() || plan.credentials.empty()) return;
  std::vector<CpioFile> files;
  for (const Credential& credential : plan.credentials) files.push_back({credential.name, read_file(credential.file)});
  write_atomically(seeded_initrd(plan.run_directory),
                   append_cpio(read_file(plan.initrd), cpio_archive("credentials", files)));
}

asio::awaitable<bool> accepts(fs::path path) {
  UnixSocket socket(co_await asio::this_coro::executor);
  const error_code ec = co_await try_connect(socket, std::move(path));
  co_return !ec;
}

/// Returns when the machine runs. No event tells when vfkit's socket is there.
asio::awaitable<void> until_running(fs::path socket, milliseconds answer) {
  for (;; co_await sleep_for(milliseconds(20))) {
    try {
      const vfkit::VmState now = co_await vfkit::state(socket, answer);
      if (now.name == "Running") co_return;
    } catch (const Error& error) {
      if (error.code() != Errc::not_found) throw;
    }
  }
}

asio::awaitable<void> until_accepting(fs::path socket) {
  while (!co_await accepts(socket)) co_await sleep_for(milliseconds(20));
}

asio::awaitable<void> until_usable(fs::path run_directory, VzTimings timings) {
  co_await with_timeout(timings.start, "waiting for vfkit's machine to run",
                        until_running(vfkit_socket(run_directory), timings.start));
  try {
    co_await with_timeout(timings.sockets, "waiting for vfkit's vsock socket",
                          until_accepting(vsock_socket(run_directory)));
  } catch (const Error& error) {
    if (error.code() != Errc::timed_out) throw;
    throw Error(Errc::io, "vfkit made no socket to the guest")
        .because("nobody listens at " + vsock_socket(run_directory).string());
  }
}

/// The console's file, as vfkit itself names it; empty when it does not.
asio::awaitable<fs::path> console_of(fs::path socket, milliseconds limit) {
  const json::object machine = co_await vfkit::inspect(std::move(socket), limit);
  const json::value* devices = machine.if_contains("devices");
  if (devices == nullptr || !devices->is_array()) co_return fs::path();
  for (const json::value& device : devices->get_array()) {
    if (!device.is_object()) continue;
    // The name's first letter has changed between releases.
    for (const char* key : {"LogFile", "logFile"})
      if (const json::value* file = device.get_object().if_contains(key); file != nullptr && file->is_string())
        if (!file->get_string().empty()) co_return fs::path(std::string(file->get_string()));
  }
  co_return fs::path();
}

}  // namespace

DriverTraits VzDriver::traits() const {
  DriverTraits traits;
  traits.raw_root = true;
  traits.always_hvf = true;
  // On Apple silicon the button is a GPIO key, or ACPI's: kernels without either driver ignored it for ever
  // (kubernetes/minikube#21089).
  traits.weak_button = true;
  traits.share_server = "vfkit";
  return traits;
}

asio::awaitable<VzDriver::Attempt> VzDriver::start(const BootPlan& plan, fs::path vfkit) {
  auto executor = co_await asio::this_coro::executor;
  VfkitHost host;
  host.binary = std::move(vfkit);
  host.make_variable_store = !file_exists(variable_store(plan.root_disk));
  Command command;
  command.argv = vfkit_command_line(plan, host);
  command.new_session = true;
  if (plan.lock_fd >= 0) command.keep.push_back(plan.lock_fd);
  const UniqueFd log_file = open_driver_log(plan.driver_log);
  command.output = command.errors = log_file.get();
  std::error_code ec;
  const std::uintmax_t log_size = fs::file_size(plan.driver_log, ec);
  remove_stale_sockets(plan.run_directory);

  Attempt attempt;
  attempt.child = Child::start(executor, command);
  Child& child = *attempt.child;
  const VzTimings timings = timings_;
  auto usable = until_usable(plan.run_directory, timings);
  auto group = asio::experimental::make_parallel_group(asio::co_spawn(executor, std::move(usable), asio::deferred),
                                                       asio::co_spawn(executor, child.wait(), asio::deferred));
  auto [order, failure, wait_failure, status] =
      co_await group.async_wait(asio::experimental::wait_for_one(), asio::use_awaitable);
  attempt.ended_by_itself = order[0] == 1 && !wait_failure;
  if (attempt.ended_by_itself)
    attempt.failure = std::make_exception_ptr(Error(Errc::io, "vfkit ended at once with " + status.str()));
  else
    attempt.failure = failure;
  if (!attempt.failure) co_return attempt;

  // Whatever went wrong, no process stays behind; not even a cancellation interrupts that.
  co_await asio::this_coro::throw_if_cancelled(false);
  if (!attempt.ended_by_itself) {
    child.kill(SIGKILL);
    co_await uninterrupted(child.wait());
  }
  co_await asio::this_coro::throw_if_cancelled(true);
  attempt.child.reset();
  remove_stale_sockets(plan.run_directory);
  const std::string all = read_file_if_exists(plan.driver_log).value_or("");
  attempt.said = last_lines(std::string_view(all).substr(std::min<std::size_t>(log_size, all.size())), 8);
  co_return attempt;
}

asio::awaitable<std::unique_ptr<Machine>> VzDriver::boot(BootPlan plan) {
  auto executor = co_await asio::this_coro::executor;
  const VfkitBinary vfkit = co_await find_vfkit();
  check_vfkit_plan(plan, host_facts().arch);
  write_initrd(plan);
  log::info("starting {} {}", vfkit.path.string(), vfkit.version);
  Attempt attempt = co_await start(plan, vfkit.path);
  std::string refused;
  if (attempt.ended_by_itself && plan.rosetta) {
    const std::string line = last_lines(attempt.said, 1);
    log::warn("vfkit did not start with Rosetta ({}); trying without", line);
    plan.rosetta = false;
    Attempt without = co_await start(plan, vfkit.path);
    // Else it had another reason, which is told as it was at first.
    if (without.child) refused = line.empty() ? "vfkit ended with it, and says nothing" : "vfkit says: " + line;
    if (without.child) attempt = std::move(without);
  }
  if (attempt.child) {
    const pid_t pid = attempt.child->pid();
    VzFacts facts{plan.run_directory, plan.console_log, refused, timings_.answer};
    co_return std::make_unique<VzMachine>(executor, std::move(facts), pid, std::move(attempt.child));
  }
  try {
    std::rethrow_exception(attempt.failure);
  } catch (const Error& error) {
    throw Error(error.code(), "vfkit did not start", "the whole of its messages is in " + plan.driver_log.string())
        .because(attempt.said.empty() ? one_line(error) : one_line(error) + "; its last lines:\n" + attempt.said);
  }
}

asio::awaitable<Saving> VzDriver::saving(BootPlan) {
  co_await find_vfkit();
  Saving saving;
  saving.why_not = "vfkit cannot save machines of Apple's framework to disk";
  co_return saving;
}

asio::awaitable<std::unique_ptr<Machine>> VzDriver::attach(fs::path run_directory) {
  auto executor = co_await asio::this_coro::executor;
  const fs::path socket = vfkit_socket(run_directory);
  std::optional<vfkit::VmState> now;
  try {
    now = co_await vfkit::state(socket, timings_.answer);
  } catch (const Error& error) {
    if (error.code() != Errc::not_found) throw;
  }
  if (!now) co_return nullptr;
  if (now->pid <= 0) throw Error(Errc::io, "cannot tell which process is the vfkit of " + run_directory.string());
  VzFacts facts{run_directory, {}, {}, timings_.answer};
  facts.console_log = co_await console_of(socket, timings_.answer);
  auto machine = std::make_unique<VzMachine>(executor, std::move(facts), now->pid, std::nullopt);
  log::info("took over vfkit, process {}, whose machine is {}", now->pid, now->name);
  if (now->name == "Stopped" || now->name == "Error") {
    machine->kill();
    co_await machine->exited();
    co_return nullptr;
  }
  co_return machine;
}

// One process is all of the machine.
bool VzDriver::has_remains(const fs::path&) const { return false; }
asio::awaitable<void> VzDriver::clean_up(fs::path) { co_return; }

}  // namespace cl
