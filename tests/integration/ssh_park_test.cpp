#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <boost/asio/local/stream_protocol.hpp>
#include <cerrno>

#include "provision/ssh/pump.hpp"
#include "tests/integration/ssh_lab.hpp"
#include "tests/support/run.hpp"

// A session whose transport is exchanged under it: what a suspended machine does to it. The server's end of the
// connection plays the guest; between it and us stands a cable that can be pulled out.

namespace cl::test {
namespace {

using Socket = asio::local::stream_protocol::socket;

/// Carries bytes between the server and whatever is plugged in. What comes from the server while nothing is, waits.
class Cable {
 public:
  Cable(const asio::any_io_executor& executor, UniqueFd server) : executor_(executor), server_(executor) {
    server_.assign(asio::local::stream_protocol(), server.release());
  }

  /// A new end to plug in.
  UniqueFd end() {
    SocketPair pair = socket_pair();
    near_ = std::make_unique<Socket>(executor_);
    near_->assign(asio::local::stream_protocol(), pair.theirs.release());
    tasks_ = std::make_unique<TaskGroup>(executor_);
    tasks_->spawn("to server", to_server(*near_, server_));
    tasks_->spawn("from server", from_server(*near_));
    return std::move(pair.ours);
  }
  /// What a hypervisor's end does: nothing more is carried, and our end sees the end of the connection.
  asio::awaitable<void> pull() {
    co_await tasks_->stop();
    near_.reset();
  }

 private:
  static asio::awaitable<void> to_server(Socket& from, Socket& server) {
    char space[4096];
    for (;;) {
      // Waiting first: a read that is cancelled must not have taken bytes with it.
      co_await from.async_wait(Socket::wait_read, asio::use_awaitable);
      const ssize_t got = ::recv(from.native_handle(), space, sizeof(space), MSG_DONTWAIT);
      if (got < 0 && errno == EAGAIN) continue;  // readiness may be told for nothing
      if (got <= 0) co_return;
      std::string_view bytes(space, static_cast<std::size_t>(got));
      while (!bytes.empty()) bytes.remove_prefix(send(server, bytes, -1));
    }
  }
  asio::awaitable<void> from_server(Socket& to) {
    char space[4096];
    for (;;) {
      while (!pending_.empty()) {
        co_await to.async_wait(Socket::wait_write, asio::use_awaitable);
        pending_.erase(0, send(to, pending_, 0));
      }
      co_await server_.async_wait(Socket::wait_read, asio::use_awaitable);
      const ssize_t got = ::recv(server_.native_handle(), space, sizeof(space), MSG_DONTWAIT);
      if (got < 0 && errno == EAGAIN) continue;
      if (got <= 0) co_return;
      pending_.assign(space, static_cast<std::size_t>(got));
    }
  }
  /// How many bytes went, after `patience` milliseconds at most.
  static std::size_t send(Socket& to, std::string_view bytes, int patience) {
    pollfd writable{to.native_handle(), POLLOUT, 0};
    ::poll(&writable, 1, patience);
    const ssize_t sent = ::send(to.native_handle(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent > 0 ? static_cast<std::size_t>(sent) : 0;
  }

  asio::any_io_executor executor_;
  Socket server_;
  std::unique_ptr<Socket> near_;
  std::string pending_;  // from the server, and not yet carried
  std::unique_ptr<TaskGroup> tasks_;
};

struct Setting {
  explicit Setting(const asio::any_io_executor& executor) : lab(executor) {}
  SshLab lab;
  std::unique_ptr<Cable> cable;
  std::unique_ptr<SshSession> guest;
};

asio::awaitable<void> set_up(Setting& setting, std::string sshd_lines = {}) {
  co_await setting.lab.set_up(std::move(sshd_lines));
  setting.cable = std::make_unique<Cable>(co_await asio::this_coro::executor, setting.lab.serve());
  setting.guest = co_await log_in(setting.cable->end(), setting.lab.login());
}

asio::awaitable<void> suspend(Setting& setting) {
  co_await setting.guest->quiesce();
  co_await setting.cable->pull();
  co_await setting.guest->detached();
}

void resume(Setting& setting) {
  setting.guest->reattach(setting.cable->end());
  setting.guest->resume();
}

asio::awaitable<void> tear_down(Setting& setting) {
  setting.guest.reset();
  co_await setting.cable->pull();
  setting.cable.reset();
  co_await setting.lab.stop();
}

asio::awaitable<void> expect_echo(ByteStream& stream, std::string text) {
  co_await stream.write(text);
  std::string back;
  char space[256];
  while (back.size() < text.size()) {
    const std::size_t got = co_await stream.read_some(space);
    if (got == 0) break;
    back.append(space, got);
  }
  EXPECT_EQ(back, text);
}

TEST(ParkedSession, GoesOnOverAnotherTransportWithItsStreamsAndProcesses) {
  auto work = []() -> asio::awaitable<void> {
    Setting setting(co_await asio::this_coro::executor);
    co_await set_up(setting);
    auto stream = co_await setting.guest->open_unix(setting.lab.echo_socket());
    co_await expect_echo(*stream, "before");
    for (int round = 0; round < 5; ++round) {
      co_await suspend(setting);
      resume(setting);
      co_await expect_echo(*stream, "after " + std::to_string(round));
    }
    const GuestResult result = co_await run_in_guest(*setting.guest, "cat", "new", {});
    EXPECT_EQ(result.output, "new");
    stream.reset();
    co_await tear_down(setting);
  };
  run(work(), std::chrono::seconds(60));
}

TEST(ParkedSession, HoldsWhatItsCallersWriteMeanwhile) {
  auto work = []() -> asio::awaitable<void> {
    Setting setting(co_await asio::this_coro::executor);
    co_await set_up(setting);
    auto stream = co_await setting.guest->open_unix(setting.lab.echo_socket());
    co_await suspend(setting);
    co_await stream->write(std::string("written while it slept "));
    resume(setting);
    std::string back;
    char space[256];
    while (back.size() < 23) back.append(space, co_await stream->read_some(space));
    EXPECT_EQ(back, "written while it slept ");
    stream.reset();
    co_await tear_down(setting);
  };
  run(work(), std::chrono::seconds(60));
}

constexpr std::size_t size = 8 << 20;

TEST(ParkedSession, LosesNothingOfABulkTransferThatItInterrupts) {
  auto work = []() -> asio::awaitable<void> {
    Setting setting(co_await asio::this_coro::executor);
    co_await set_up(setting);
    auto stream = co_await setting.guest->open_unix(setting.lab.source_socket(size));
    TaskGroup interrupting(co_await asio::this_coro::executor);
    Event interrupted(co_await asio::this_coro::executor);
    auto again_and_again = [](Setting& s, Event& done) -> asio::awaitable<void> {
      try {
        for (int round = 0; round < 20; ++round) {
          co_await suspend(s);
          resume(s);
          co_await sleep_for(std::chrono::milliseconds(5));
        }
      } catch (const Error& error) {
        ADD_FAILURE() << one_line(error);
      }
      done.set();
    };
    interrupting.spawn("suspends", again_and_again(setting, interrupted));
    std::string all;
    std::vector<char> space(64 * 1024);
    for (;;) {
      const std::size_t got = co_await stream->read_some(space);
      if (got == 0) break;
      all.append(space.data(), got);
    }
    EXPECT_TRUE(all == pattern(size)) << all.size() << " bytes of " << size;
    co_await interrupted.wait();
    co_await interrupting.stop();
    stream.reset();
    co_await tear_down(setting);
  };
  run(work(), std::chrono::seconds(60));
}

TEST(ParkedSession, EndsWhenItIsLetGoOnWithoutATransport) {
  auto work = []() -> asio::awaitable<std::string> {
    Setting setting(co_await asio::this_coro::executor);
    co_await set_up(setting);
    co_await suspend(setting);
    setting.guest->resume();
    co_await setting.guest->lost();
    std::string failure;
    try {
      co_await setting.guest->open_unix("/nowhere");
    } catch (const Error& error) {
      failure = one_line(error);
    }
    co_await tear_down(setting);
    co_return failure;
  };
  EXPECT_NE(run(work(), std::chrono::seconds(60)).find("lost"), std::string::npos);
}

TEST(ParkedSession, IsTheSessionAgainWhenTheSuspendIsCalledOff) {
  auto work = []() -> asio::awaitable<void> {
    Setting setting(co_await asio::this_coro::executor);
    co_await set_up(setting);
    co_await setting.guest->quiesce();
    setting.guest->resume();
    const GuestResult result = co_await run_in_guest(*setting.guest, "echo here", "", {});
    EXPECT_EQ(result.output, "here\n");
    co_await tear_down(setting);
  };
  run(work(), std::chrono::seconds(60));
}

}  // namespace
}  // namespace cl::test
