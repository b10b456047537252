#include <gtest/gtest.h>
#include <sys/socket.h>

#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>

#include "provision/readiness.hpp"
#include "src/base/file.hpp"
#include "tests/integration/ssh_lab.hpp"
#include "tests/support/run.hpp"

namespace cl::test {
namespace {

using Socket = asio::local::stream_protocol::socket;

struct Outcome {
  Errc code = Errc::internal;
  std::string text, remedy, output;
  int dials = 0;
};

asio::awaitable<Outcome> outcome_of(asio::awaitable<std::unique_ptr<SshSession>> connecting) {
  Outcome outcome;
  std::unique_ptr<SshSession> guest;
  try {
    guest = co_await std::move(connecting);
  } catch (const Error& error) {
    outcome.code = error.code();
    outcome.text = one_line(error);
    outcome.remedy = error.remedy();
    co_return outcome;
  }
  const GuestResult result = co_await run_in_guest(*guest, "echo logged in", "");
  outcome.output = result.output;
  co_return outcome;
}

asio::awaitable<Outcome> log_in_with_another_host_key() {
  SshLab lab(co_await asio::this_coro::executor);
  co_await lab.set_up();
  SshLogin login = lab.login();
  const KeySet others = co_await ensure_keys(lab.directory() / "others");
  login.host_key = others.host_key;
  Outcome outcome = co_await outcome_of(log_in(lab.serve(), std::move(login)));
  co_await lab.stop();
  co_return outcome;
}

TEST(Login, RefusesAGuestWithAnotherHostKey) {
  const Outcome outcome = run(log_in_with_another_host_key(), 30s);
  EXPECT_EQ(outcome.code, Errc::guest_failed);
  EXPECT_NE(outcome.text.find("host key is not the one"), std::string::npos) << outcome.text;
  EXPECT_NE(outcome.remedy, "");
}

asio::awaitable<Outcome> log_in_with_another_key() {
  SshLab lab(co_await asio::this_coro::executor);
  co_await lab.set_up();
  SshLogin login = lab.login();
  const KeySet others = co_await ensure_keys(lab.directory() / "others");
  login.private_key = others.private_key;
  Outcome outcome = co_await outcome_of(log_in(lab.serve(), std::move(login)));
  co_await lab.stop();
  co_return outcome;
}

TEST(Login, ReportsThatTheGuestRefusesOurKey) {
  const Outcome outcome = run(log_in_with_another_key(), 30s);
  EXPECT_EQ(outcome.code, Errc::guest_failed);
  EXPECT_NE(outcome.text.find("refused the profile's key"), std::string::npos) << outcome.text;
  EXPECT_NE(outcome.remedy, "");
}

asio::awaitable<Outcome> log_in_without_a_key_file() {
  SshLab lab(co_await asio::this_coro::executor);
  co_await lab.set_up();
  SshLogin login = lab.login();
  login.private_key = lab.directory() / "none";
  Outcome outcome = co_await outcome_of(log_in(lab.serve(), std::move(login)));
  co_await lab.stop();
  co_return outcome;
}

TEST(Login, NamesAMissingKeyFile) {
  const Outcome outcome = run(log_in_without_a_key_file(), 30s);
  EXPECT_EQ(outcome.code, Errc::not_found);
  EXPECT_NE(outcome.text.find("/none"), std::string::npos) << outcome.text;
}

asio::awaitable<void> pump_bytes(std::shared_ptr<Socket> from, std::shared_ptr<Socket> to) {
  std::vector<char> space(64 * 1024);
  for (;;) {
    auto [ec, got] = co_await from->async_read_some(asio::buffer(space), no_throw);
    if (ec) co_return;
    auto [write_ec, unused] = co_await asio::async_write(*to, asio::buffer(space, got), no_throw);
    if (write_ec) co_return;
  }
}

struct Silence {
  std::size_t received_before_banner = 0;
  Outcome outcome;
};

/// Stands before a real server and holds its greeting back, behind what an earlier connection may have left.
asio::awaitable<void> greet_late(SshLab& lab, UniqueFd client, Silence& seen) {
  auto executor = co_await asio::this_coro::executor;
  auto front = std::make_shared<Socket>(executor, asio::local::stream_protocol(), client.release());
  for (const std::string_view part : {"\x01\x02rest of a packet", " and more\r\ncolima-like\r\n", "SSH"}) {
    co_await asio::async_write(*front, asio::buffer(part), asio::use_awaitable);
    for (int turns = 0; turns < 20; ++turns) co_await asio::post(executor, asio::use_awaitable);
  }
  char space[100];
  const ssize_t got = ::recv(front->native_handle(), space, sizeof(space), MSG_DONTWAIT);
  seen.received_before_banner = got > 0 ? static_cast<std::size_t>(got) : 0;

  auto back = std::make_shared<Socket>(executor, asio::local::stream_protocol(), lab.serve().release());
  co_await asio::async_read(*back, asio::buffer(space, 3), asio::use_awaitable);  // "SSH", said already
  lab.tasks().spawn("to the server", pump_bytes(front, back));
  lab.tasks().spawn("from the server", pump_bytes(back, front));
}

asio::awaitable<Silence> log_in_after_a_late_banner() {
  SshLab lab(co_await asio::this_coro::executor);
  co_await lab.set_up();
  SocketPair pair = socket_pair();
  Silence seen;
  lab.tasks().spawn("late server", greet_late(lab, std::move(pair.theirs), seen));
  seen.outcome = co_await outcome_of(log_in(std::move(pair.ours), lab.login()));
  co_await lab.stop();
  co_return seen;
}

TEST(Login, SendsNothingBeforeTheServerHasNamedItself) {
  const Silence seen = run(log_in_after_a_late_banner(), 30s);
  EXPECT_EQ(seen.outcome.output, "logged in\n") << seen.outcome.text;
  EXPECT_EQ(seen.received_before_banner, 0U);
}

/// What a dial in wait_for_ssh meets, one after the other; then a real server.
enum class Meets { nobody, end, silence, garbage, end_after_banner, nonsense_after_banner };

class Obstacles {
 public:
  Obstacles(SshLab& lab, std::vector<Meets> list) : lab_(lab), list_(std::move(list)) {}

  asio::awaitable<UniqueFd> dial() {
    const auto turn = static_cast<std::size_t>(dials++);
    if (turn >= list_.size()) co_return lab_.serve();
    if (list_[turn] == Meets::nobody) throw Error(Errc::io, "cannot connect");
    SocketPair pair = socket_pair();
    auto say = [&](const std::string& text) { (void)!::write(pair.theirs.get(), text.data(), text.size()); };
    if (list_[turn] == Meets::garbage) say(pattern(10'000));
    if (list_[turn] == Meets::end_after_banner) say("SSH-2.0-gone\r\n");
    if (list_[turn] == Meets::nonsense_after_banner) say("SSH-2.0-odd\r\n" + std::string(200, '\xff'));
    const bool stays = list_[turn] != Meets::end && list_[turn] != Meets::end_after_banner;
    if (stays) kept_.push_back(std::move(pair.theirs));
    co_return std::move(pair.ours);
  }
  int dials = 0;

 private:
  SshLab& lab_;
  std::vector<Meets> list_;
  std::vector<UniqueFd> kept_;
};

ReadinessTimings quick(std::chrono::milliseconds total) {
  ReadinessTimings timings;
  timings.total = total;
  timings.banner_patience = {10ms, 2000ms};
  timings.redial_pause = 1ms;
  return timings;
}

asio::awaitable<Outcome> wait_past(std::vector<Meets> list, std::chrono::milliseconds total, bool right_key) {
  SshLab lab(co_await asio::this_coro::executor);
  co_await lab.set_up();
  Obstacles obstacles(lab, std::move(list));
  SshLogin login = lab.login();
  if (!right_key) {
    const KeySet others = co_await ensure_keys(lab.directory() / "others");
    login.host_key = others.host_key;
  }
  Dial dial = [&obstacles]() -> asio::awaitable<cl::Transport> { co_return co_await obstacles.dial(); };
  Outcome outcome = co_await outcome_of(wait_for_ssh(dial, std::move(login), log_in, quick(total)));
  outcome.dials = obstacles.dials;
  co_await lab.stop();
  co_return outcome;
}

TEST(Readiness, GetsPastEverythingThatABootingGuestMayDo) {
  const Outcome outcome =
      run(wait_past({Meets::silence, Meets::nobody, Meets::end, Meets::end_after_banner, Meets::nonsense_after_banner},
                    20s, true),
          30s);
  EXPECT_EQ(outcome.output, "logged in\n") << outcome.text;
  EXPECT_EQ(outcome.dials, 6);
}

TEST(Readiness, GivesUpAtOnceOnAnotherHostKey) {
  const Outcome outcome = run(wait_past({Meets::end}, 20s, false), 10s);
  EXPECT_EQ(outcome.code, Errc::guest_failed);
  EXPECT_NE(outcome.text.find("host key is not the one"), std::string::npos) << outcome.text;
  EXPECT_EQ(outcome.dials, 2);
}

TEST(Readiness, EndsAtItsLimitAndSaysWhatItMetLast) {
  const Outcome outcome = run(wait_past({Meets::end, Meets::garbage}, 50ms, true), 10s);
  EXPECT_EQ(outcome.code, Errc::guest_failed);
  EXPECT_NE(outcome.text.find("did not answer in 0 s"), std::string::npos) << outcome.text;
  EXPECT_NE(outcome.text.find("waiting for the guest"), std::string::npos) << outcome.text;
}

asio::awaitable<std::string> dial(std::filesystem::path path) {
  try {
    co_await unix_dial(path, path)();
  } catch (const Error& error) {
    co_return std::string(to_string(error.code())) + ": " + one_line(error);
  }
  co_return "connected";
}

TEST(UnixDial, SaysWhatIsWrongWithThePath) {
  EXPECT_TRUE(run(dial("/nonexistent/ssh0.sock")).starts_with("io: cannot connect to /nonexistent/ssh0.sock"));
  EXPECT_TRUE(run(dial("/" + std::string(200, 'x'))).starts_with("invalid_config: "));
}

}  // namespace
}  // namespace cl::test
