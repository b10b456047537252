#include "tests/unit/daemon/session_lab.hpp"

#include <cstdlib>

#include "src/daemon/preparation.hpp"

namespace cl::test {
namespace {

/// The lab's driver outlives every session's.
class DriverHandle : public Driver {
 public:
  explicit DriverHandle(std::shared_ptr<FakeDriver> driver) : driver_(std::move(driver)) {}
  std::string_view name() const noexcept override { return driver_->name(); }
  DriverTraits traits() const override { return driver_->traits(); }
  asio::awaitable<std::unique_ptr<Machine>> boot(BootPlan plan) override { return driver_->boot(std::move(plan)); }
  asio::awaitable<Saving> saving(BootPlan plan) override { return driver_->saving(std::move(plan)); }
  asio::awaitable<std::unique_ptr<Machine>> attach(std::filesystem::path run_directory) override {
    return driver_->attach(std::move(run_directory));
  }
  bool has_remains(const std::filesystem::path& run_directory) const override {
    return driver_->has_remains(run_directory);
  }
  asio::awaitable<void> clean_up(std::filesystem::path run_directory) override {
    return driver_->clean_up(std::move(run_directory));
  }

 private:
  std::shared_ptr<FakeDriver> driver_;
};

class NoBytes : public ByteStream {
 public:
  asio::awaitable<std::size_t> read_some(std::span<char>) override { co_return 0; }
  asio::awaitable<void> write(std::span<const char>) override { co_return; }
  asio::awaitable<void> shutdown_write() override { co_return; }
  void close() noexcept override {}
};

class OneMessage : public MessageStream {
 public:
  explicit OneMessage(std::string text) : text_(std::move(text)) {}
  asio::awaitable<std::optional<std::string>> read() override { co_return std::exchange(text_, std::nullopt); }
  asio::awaitable<void> write(std::string_view) override { co_return; }

 private:
  std::optional<std::string> text_;
};

class QuietProcess : public GuestProcess {
 public:
  ByteStream& io() override { return io_; }
  asio::awaitable<std::size_t> read_errors(std::span<char>) override { co_return 0; }
  asio::awaitable<void> resize(TerminalSize) override { co_return; }
  asio::awaitable<int> wait_exit() override { co_return 0; }

 private:
  NoBytes io_;
};

class QuietLink : public GuestLink {
 public:
  explicit QuietLink(const std::shared_ptr<GuestBehaviour>& behaviour)
      : behaviour_(behaviour), guest_(std::make_shared<QuietGuest>(behaviour)) {}

  bool connected() const noexcept override { return true; }
  std::shared_ptr<Guest> current() const noexcept override { return guest_; }
  asio::awaitable<std::shared_ptr<Guest>> guest(std::chrono::milliseconds) override { co_return guest_; }
  asio::awaitable<bool> quiesce() override {
    co_await perhaps_hang("quiesce");
    co_return true;
  }
  asio::awaitable<void> detach() override { return perhaps_hang("detach"); }
  asio::awaitable<void> reattach() override { return perhaps_hang("reattach"); }
  void resume() override {}
  asio::awaitable<void> set_clock(std::chrono::milliseconds) override { co_return; }
  asio::awaitable<void> check() override { co_return; }
  void give_up(Error) override {}
  asio::awaitable<void> stop() override { co_return; }

 private:
  asio::awaitable<void> perhaps_hang(std::string call) {
    if (behaviour_->hangs_at == call) co_await sleep_for(std::chrono::hours(1));
  }

  std::shared_ptr<GuestBehaviour> behaviour_;
  std::shared_ptr<QuietGuest> guest_;
};

asio::awaitable<BootPlan> plan(const ProfilePaths& paths, StateStore& store) {
  for (const fs::path& disk : {paths.root_disk, paths.data_disk}) {
    std::error_code ignored;
    if (!fs::exists(disk, ignored)) write_atomically(disk, "disk");
  }
  store.edit().image_digest = "digest";
  store.edit().data_owner = "owner";
  BootPlan plan;
  plan.name = paths.name;
  plan.run_directory = paths.run_directory;
  co_return plan;
}

}  // namespace

asio::awaitable<std::unique_ptr<GuestProcess>> QuietGuest::exec(ExecRequest) {
  co_return std::make_unique<QuietProcess>();
}

asio::awaitable<std::unique_ptr<MessageStream>> QuietGuest::open_service(std::string what) {
  if (behaviour_->service) co_return behaviour_->service(std::move(what));
  if (!behaviour_->agent) throw Error(Errc::guest_failed, "there is no agent in the guest");
  co_return std::make_unique<OneMessage>(behaviour_->agent(what));
}

asio::awaitable<std::unique_ptr<ByteStream>> QuietGuest::connect(std::string where) {
  auto stream = behaviour_->connect ? behaviour_->connect(where) : nullptr;
  if (!stream) throw Error(Errc::guest_failed, "nobody listens there");
  co_return stream;
}

asio::awaitable<std::unique_ptr<GuestListener>> QuietGuest::listen(std::string where) {
  if (!behaviour_->listen) throw Error(Errc::guest_failed, "there is no agent in the guest");
  co_return behaviour_->listen(where);
}

SessionLab::SessionLab(std::string runtime) {
  home.profiles = directory / "home";
  home.cache = directory / "cache";
  ::setenv("HOME", directory.path().c_str(), 1);
  paths = profile_paths(home, "default");
  create_profile(paths);
  std::ofstream(paths.config, std::ios::app) << "\nruntime: " << runtime << "\nshares: []\nidle: off\n";
  driver->ssh_ports = {SshPort{paths.run_directory / "ssh", paths.run_directory / "ssh"}};
}

Parts SessionLab::parts() {
  Parts parts;
  parts.driver = [driver = driver](std::string_view) { return std::make_unique<DriverHandle>(driver); };
  parts.link = [guest = guest](const asio::any_io_executor&, const GuestLink::Config& config) {
    ++guest->connections;
    guest->on_change = config.on_change;
    return std::make_shared<QuietLink>(guest);
  };
  parts.login = [](const ProfilePaths&) -> asio::awaitable<SshLogin> { co_return SshLogin{}; };
  parts.plan = [guest = guest](const Home&, const ProfilePaths& at, StateStore& store, const DriverTraits&, Job&,
                               BootOptions) {
    if (guest->plan_failure) throw *guest->plan_failure;
    return plan(at, store);
  };
  parts.provision = [guest = guest](Guest&, const ProvisionPlan&, const auto&) -> asio::awaitable<Provisioned> {
    const auto behaviour = guest;
    if (behaviour->at_set_up) {
      behaviour->at_set_up();
      co_await sleep_for(std::chrono::milliseconds(5));  // for who watches the machine
    }
    if (behaviour->provision_failure) throw *behaviour->provision_failure;
    if (behaviour->hangs) co_await sleep_for(std::chrono::hours(1));
    co_return Provisioned{};
  };
  parts.tools = [](const Home&, const State&, Guest&, Job&) -> asio::awaitable<std::string> { co_return ""; };
  parts.runtime_version = [guest = guest](Guest&, const Runtime&) -> asio::awaitable<std::string> {
    const auto behaviour = guest;
    if (behaviour->hangs_at == "version") co_await sleep_for(std::chrono::hours(1));
    co_return "1.2.3";
  };
  parts.patience = patience;
  parts.trim = trim;
  parts.docker = "/nowhere/docker";
  return parts;
}

asio::awaitable<std::unique_ptr<Session>> SessionLab::open() {
  auto lock = FileLock::try_acquire(paths.lock);
  if (!lock) throw Error(Errc::busy, "the last session still holds its lock");
  auto session = std::make_unique<Session>(co_await asio::this_coro::executor, home, paths, std::move(*lock), parts());
  session->take_over();
  co_return session;
}

asio::awaitable<void> SessionLab::close(std::unique_ptr<Session> session) {
  if (!co_await session->detach(std::chrono::seconds(5))) throw Error(Errc::internal, "the session does not end");
}

asio::awaitable<std::string> outcome(std::shared_ptr<Job> job) {
  try {
    co_await job->result();
    co_return std::string();
  } catch (const Error& error) {
    co_return one_line(error);
  }
}

asio::awaitable<void> until(std::function<bool()> condition) {
  while (!condition()) co_await sleep_for(std::chrono::milliseconds(1));
}

}  // namespace cl::test
