#include "vm/host/driver.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <utility>

#include "src/base/file.hpp"
#include "src/base/file_lock.hpp"
#include "src/base/unique_fd.hpp"

namespace cl {
namespace {

namespace fs = std::filesystem;

constexpr const char* why_not_saved = "a host does not sleep for us";

/// Two lines: the host, and the machine's lock.
fs::path note_in(const fs::path& run_directory) { return run_directory / "host"; }

class HostMachine : public Machine {
 public:
  HostMachine(const asio::any_io_executor& executor, std::string remote, fs::path note, UniqueFd lock)
      : remote_(std::move(remote)), note_(std::move(note)), lock_(std::move(lock)), changed_(executor) {}

  pid_t pid() const noexcept override { return ::getpid(); }
  std::string remote() const override { return remote_; }
  std::vector<SshPort> ssh_ports() const override { return {}; }
  asio::awaitable<void> allow_reboot() override { co_return; }
  asio::awaitable<void> pause() override {
    throw Error(Errc::io, "a host cannot be paused").because(why_not_saved);
    co_return;
  }
  asio::awaitable<void> resume() override { co_return; }
  asio::awaitable<void> save(fs::path) override {
    throw Error(Errc::io, "a host cannot be saved").because(why_not_saved);
    co_return;
  }
  asio::awaitable<void> load(fs::path) override {
    throw Error(Errc::io, "a host cannot be loaded");
    co_return;
  }
  asio::awaitable<void> power_off() override {
    end();
    co_return;
  }
  void kill() noexcept override { end(); }
  asio::awaitable<std::string> share_lost() override {
    co_await exited();
    co_return std::string();
  }
  asio::awaitable<ExitReason> exited() override {
    while (!ended_) co_await changed_.wait();
    co_return ExitReason{true, "it was let go", false};
  }

 private:
  void end() noexcept {
    std::error_code ignored;
    fs::remove(note_, ignored);
    lock_.reset();
    ended_ = true;
    changed_.notify_all();
  }

  std::string remote_;
  fs::path note_;
  UniqueFd lock_;
  bool ended_ = false;
  Notifier changed_;
};

UniqueFd copy_of(int fd) {
  UniqueFd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
  if (!copy) throw io_error("cannot keep the machine's lock", errno);
  return copy;
}

}  // namespace

DriverTraits HostDriver::traits() const {
  DriverTraits traits;
  traits.own_machine = false;
  return traits;
}

asio::awaitable<std::unique_ptr<Machine>> HostDriver::boot(BootPlan plan) {
  const fs::path note = note_in(plan.run_directory);
  write_atomically(note, plan.remote + "\n" + plan.lock.string() + "\n");
  co_return std::make_unique<HostMachine>(co_await asio::this_coro::executor, plan.remote, note, copy_of(plan.lock_fd));
}

asio::awaitable<Saving> HostDriver::saving(BootPlan) {
  Saving saving;
  saving.why_not = why_not_saved;
  co_return saving;
}

asio::awaitable<std::unique_ptr<Machine>> HostDriver::attach(fs::path run_directory) {
  const auto text = read_file_if_exists(note_in(run_directory));
  if (!text) co_return nullptr;
  const std::size_t end = text->find('\n');
  const std::size_t last = end == std::string::npos ? end : text->find('\n', end + 1);
  if (last == std::string::npos) co_return nullptr;
  const auto lock = FileLock::try_acquire(text->substr(end + 1, last - end - 1));
  if (!lock) co_return nullptr;
  co_return std::make_unique<HostMachine>(co_await asio::this_coro::executor, text->substr(0, end),
                                          note_in(run_directory), copy_of(lock->fd()));
}

bool HostDriver::is_kept(const fs::path& run_directory) const { return file_exists(note_in(run_directory)); }

}  // namespace cl
