#pragma once

#include <fcntl.h>

#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "profiles/store.hpp"
#include "src/base/failure.hpp"
#include "src/daemon/session.hpp"
#include "tests/fakes/fake_driver.hpp"
#include "tests/support/run.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl::test {

/// What a guest is made to do; may be changed between calls.
struct GuestBehaviour {
  std::optional<Error> provision_failure;
  std::optional<Error> plan_failure;    ///< of what is prepared on this computer before it boots or resumes
  std::function<void()> at_set_up;      ///< happens as its set-up begins
  bool hangs = false;                   ///< its set-up never ends
  std::string hangs_at;                 ///< "quiesce", "detach", "reattach" of its link, "version": never returns
  int connections = 0;                  ///< made so far
  std::function<void(bool)> on_change;  ///< of the last connection: whether the guest is reached
  /// What a service of its agent says, by the service and its arguments; empty: there is no agent.
  std::function<std::string(std::string_view what)> agent;
  /// Likewise, for more than one answer.
  std::function<std::unique_ptr<MessageStream>(std::string what)> service;
  /// Answers a connection to "unix PATH" or "tcp ADDRESS PORT" of the guest; empty, or null: nobody listens there.
  std::function<std::unique_ptr<ByteStream>(const std::string& where)> connect;
  /// Likewise makes a listening socket there; it may throw.
  std::function<std::unique_ptr<GuestListener>(std::string where)> listen;
};

/// A guest whose every command succeeds and says nothing.
class QuietGuest : public Guest {
 public:
  explicit QuietGuest(std::shared_ptr<GuestBehaviour> behaviour) : behaviour_(std::move(behaviour)) {}
  asio::awaitable<std::unique_ptr<GuestProcess>> exec(ExecRequest) override;
  asio::awaitable<std::unique_ptr<ByteStream>> open_unix(std::string path) override { return connect("unix " + path); }
  asio::awaitable<std::unique_ptr<ByteStream>> open_tcp(std::string host, std::uint16_t port) override {
    return connect("tcp " + host + " " + std::to_string(port));
  }
  asio::awaitable<std::unique_ptr<GuestListener>> listen(std::string where) override;
  asio::awaitable<void> lost() override {
    Event never(co_await asio::this_coro::executor);
    co_await never.wait();
  }
  asio::awaitable<std::unique_ptr<MessageStream>> open_service(std::string what) override;

 private:
  asio::awaitable<std::unique_ptr<ByteStream>> connect(std::string where);
  std::shared_ptr<GuestBehaviour> behaviour_;
};

/// A session whose hypervisor and guest are in memory and whose files are real.
class SessionLab {
 public:
  explicit SessionLab(std::string runtime = "none");

  /// What sessions are made of from now on.
  Parts parts();
  /// A session that has taken over what is there.
  asio::awaitable<std::unique_ptr<Session>> open();
  /// As a daemon that is told to end.
  static asio::awaitable<void> close(std::unique_ptr<Session> session);

  bool runs() const { return driver->is_running(paths.run_directory); }
  std::optional<State> saved_state() const { return load_state(paths); }

  TempDir directory{fast_directory()};
  Home home;
  ProfilePaths paths;
  std::shared_ptr<FakeDriver> driver = std::make_shared<FakeDriver>();
  Patience patience;
  TrimTimings trim;
  std::shared_ptr<GuestBehaviour> guest = std::make_shared<GuestBehaviour>();
};

/// Waits for a job; how it failed, or "" with its summary in `summary`.
asio::awaitable<std::string> outcome(std::shared_ptr<Job> job);

/// Returns once it is true.
asio::awaitable<void> until(std::function<bool()> condition);

/// Runs `scenario(session)` with an open session, which is closed after it.
template <class Scenario>
void play(SessionLab& lab, Scenario scenario) {
  auto work = [&]() -> asio::awaitable<void> {
    auto session = co_await lab.open();
    std::exception_ptr failure;
    try {
      co_await scenario(*session);
    } catch (...) {
      failure = std::current_exception();
    }
    co_await SessionLab::close(std::move(session));
    if (failure) std::rethrow_exception(failure);
  };
  test::run(work());
}

}  // namespace cl::test
