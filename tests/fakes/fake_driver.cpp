#include "tests/fakes/fake_driver.hpp"

#include <fcntl.h>

#include <set>
#include <utility>

#include "src/base/file.hpp"
#include "src/base/unique_fd.hpp"

namespace cl::test {

/// Holds nothing of Asio's: the driver may outlive the io_context that its machines ran on.
struct FakeDriver::Process {
  void end(ExitReason why) {
    if (gone) return;
    gone = true;
    lock.reset();
    reason = std::move(why);
    notify();
  }
  void notify() {
    for (Event* waiter : waiters) waiter->set();
  }

  std::filesystem::path run_directory;
  UniqueFd lock;  ///< as a hypervisor inherits it
  bool paused = false;
  std::string blocked;
  pid_t pid = 0;
  bool gone = false;
  ExitReason reason;
  std::set<Event*> waiters;  ///< each lives in the coroutine that waits
};

namespace {

template <class Process>
asio::awaitable<void> power_down(std::shared_ptr<Process> process, std::chrono::milliseconds time) {
  co_await sleep_for(time);
  process->end({true, "the guest powered off"});
}

template <class Process>
class FakeMachine : public Machine {
 public:
  FakeMachine(FakeDriver& driver, std::shared_ptr<Process> process) : driver_(driver), process_(std::move(process)) {}

  pid_t pid() const noexcept override { return process_->pid; }
  std::vector<SshPort> ssh_ports() const override { return driver_.ssh_ports; }
  std::optional<SshPort> data_port() const override { return driver_.data_port; }

  asio::awaitable<void> allow_reboot() override { co_await begin("allow_reboot"); }
  asio::awaitable<void> pause() override {
    co_await begin("pause");
    process_->paused = true;
  }
  asio::awaitable<void> resume() override {
    co_await begin("resume");
    process_->paused = false;
    process_->blocked.clear();
  }
  asio::awaitable<void> save(std::filesystem::path file) override {
    co_await begin("save");
    if (driver_.behaviour.save_failure) throw *driver_.behaviour.save_failure;
    write_atomically(file, "memory");
    process_->end({true, "QEMU was told to quit"});
    co_return;
  }
  asio::awaitable<void> load(std::filesystem::path file) override {
    co_await begin("load");
    if (driver_.behaviour.load_failure) throw *driver_.behaviour.load_failure;
    if (read_file(file) != "memory") throw Error(Errc::io, "this was not saved by the fake hypervisor");
    co_return;
  }

  asio::awaitable<void> power_off() override {
    co_await begin("power_off");
    if (driver_.behaviour.power_off_fails || process_->gone)
      throw Error(Errc::protocol, "the fake hypervisor does not answer");
    if (driver_.behaviour.ignores_power_off || driver_.behaviour.deaf_presses-- > 0) co_return;
    auto nobody_waits = [](std::exception_ptr) {};
    asio::co_spawn(co_await asio::this_coro::executor, power_down(process_, driver_.behaviour.power_off_time),
                   nobody_waits);
  }

  void kill() noexcept override {
    driver_.calls.push_back("kill");
    process_->end({false, "QEMU was killed by signal 9"});
  }

  asio::awaitable<std::string> share_lost() override {
    co_await exited();
    co_return std::string();
  }

  asio::awaitable<std::string> blocked() override {
    const auto process = process_;
    while (process->blocked.empty() && !process->gone) co_await next_event();
    co_return process->gone ? std::string() : process->blocked;
  }

  asio::awaitable<ExitReason> exited() override {
    const auto process = process_;
    while (!process->gone) co_await next_event();
    if (driver_.behaviour.notice_after.count() > 0) co_await sleep_for(driver_.behaviour.notice_after);
    co_return process->reason;
  }

 private:
  /// Returns when the process has ended or is blocked: look at it again.
  asio::awaitable<void> next_event() {
    const auto process = process_;
    Event event(co_await asio::this_coro::executor);
    struct Registered {
      ~Registered() { process.waiters.erase(&event); }
      Process& process;
      Event& event;
    };
    process->waiters.insert(&event);
    const Registered registered{*process, event};
    co_await event.wait();
  }

  /// A question to the hypervisor, which it may never answer; and never when it is gone.
  asio::awaitable<void> begin(std::string call) {
    driver_.calls.push_back(call);
    if (driver_.behaviour.hangs_at == call) co_await exited();
    if (process_->gone) throw Error(Errc::io, "the fake hypervisor is gone");
  }

  FakeDriver& driver_;
  std::shared_ptr<Process> process_;
};

}  // namespace

asio::awaitable<std::unique_ptr<Machine>> FakeDriver::boot(BootPlan plan) {
  calls.push_back("boot " + plan.name);
  plans.push_back(plan);
  co_await sleep_for(behaviour.hangs_at == "boot" ? std::chrono::hours(1) : behaviour.boot_time);
  if (behaviour.boot_failure) throw *behaviour.boot_failure;
  const pid_t pid = 100000 + static_cast<pid_t>(processes_.size());
  auto process = std::make_shared<Process>();
  process->run_directory = plan.run_directory;
  if (plan.lock_fd >= 0) process->lock.reset(::fcntl(plan.lock_fd, F_DUPFD_CLOEXEC, 0));
  process->paused = plan.incoming;
  process->pid = pid;
  processes_.push_back(process);
  co_return std::make_unique<FakeMachine<Process>>(*this, std::move(process));
}

asio::awaitable<Saving> FakeDriver::saving(BootPlan plan) {
  if (behaviour.hangs_at == "saving") co_await sleep_for(std::chrono::hours(1));
  if (behaviour.cannot_save.empty()) co_return Saving{"fake " + plan.name, ""};
  co_return Saving{"", behaviour.cannot_save};
}

asio::awaitable<std::unique_ptr<Machine>> FakeDriver::attach(std::filesystem::path run_directory) {
  calls.push_back("attach");
  if (behaviour.hangs_at == "attach") co_await sleep_for(std::chrono::hours(1));
  auto process = find(run_directory);
  if (!process) co_return nullptr;
  co_return std::make_unique<FakeMachine<Process>>(*this, std::move(process));
}

void FakeDriver::crash(const std::filesystem::path& run_directory, ExitReason reason) {
  if (auto process = find(run_directory)) process->end(std::move(reason));
}

bool FakeDriver::is_running(const std::filesystem::path& run_directory) const { return find(run_directory) != nullptr; }

bool FakeDriver::is_paused(const std::filesystem::path& run_directory) const {
  const auto process = find(run_directory);
  return process && process->paused;
}

void FakeDriver::block(const std::filesystem::path& run_directory, std::string why) {
  const auto process = find(run_directory);
  if (!process) return;
  process->blocked = std::move(why);
  process->notify();
}

std::shared_ptr<FakeDriver::Process> FakeDriver::find(const std::filesystem::path& run_directory) const {
  for (const auto& process : processes_)
    if (process->run_directory == run_directory && !process->gone) return process;
  return nullptr;
}

}  // namespace cl::test
