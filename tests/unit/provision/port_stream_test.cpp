#include "provision/channel/port_stream.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/base/task_group.hpp"
#include "tests/support/run.hpp"

namespace cl {
namespace {

/// A pair of sockets in place of a machine's ports: `port` is the guest's side.
struct Ends {
  UniqueFd port, ours;
};
Ends make_ends() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) throw io_error("cannot make a socket", errno);
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

void say(const UniqueFd& port, std::string_view text) {
  EXPECT_EQ(::write(port.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
}
/// All that has come to the guest's side.
std::string heard(const UniqueFd& port) {
  std::string all(1 << 20, '\0');
  const ssize_t got = ::recv(port.get(), all.data(), all.size(), MSG_DONTWAIT);
  all.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  return all;
}

asio::awaitable<std::string> next(PortStream& stream) {
  std::array<char, 64> space{};
  const std::size_t got = co_await stream.read_some(space);
  co_return std::string(space.data(), got);
}
asio::awaitable<void> tell(PortStream& stream, std::string text) { co_await stream.write(text); }

TEST(PortStream, CarriesBothWaysUntilTheGuestEnds) {
  auto work = []() -> asio::awaitable<std::string> {
    Ends ends = make_ends();
    auto stream = PortStream::start(co_await asio::this_coro::executor, std::move(ends.ours));
    co_await tell(*stream, "question");
    std::string all = heard(ends.port) + "|";
    say(ends.port, "answer");
    all += co_await next(*stream) + "|";
    ends.port.reset();
    all += co_await next(*stream) + "end";
    co_return all;
  };
  EXPECT_EQ(test::run(work()), "question|answer|end");
}

TEST(PortStream, LosesNothingWhenItsTransportIsExchanged) {
  auto work = []() -> asio::awaitable<std::string> {
    const auto executor = co_await asio::this_coro::executor;
    Ends old = make_ends();
    auto stream = PortStream::start(executor, std::move(old.ours));
    TaskGroup tasks(executor);
    co_await stream->quiesce();
    tasks.spawn("writer", tell(*stream, "later"));  // waits
    co_await sleep_for(std::chrono::milliseconds(5));
    std::string all = "[" + heard(old.port) + "]";
    say(old.port, "said before the end");
    old.port.reset();
    co_await stream->detached();
    Ends anew = make_ends();
    stream->reattach(std::move(anew.ours));
    say(anew.port, ", said after");
    stream->resume();
    all += co_await next(*stream);
    all += co_await next(*stream);
    co_await sleep_for(std::chrono::milliseconds(5));
    all += "[" + heard(anew.port) + "]";
    co_await tasks.stop();
    co_return all;
  };
  EXPECT_EQ(test::run(work()), "[]said before the end, said after[later]");
}

TEST(PortStream, OneThatIsOnlyPausedGoesOn) {
  auto work = []() -> asio::awaitable<std::string> {
    Ends ends = make_ends();
    auto stream = PortStream::start(co_await asio::this_coro::executor, std::move(ends.ours));
    co_await stream->quiesce();
    stream->resume();
    co_await tell(*stream, "still here");
    co_return heard(ends.port);
  };
  EXPECT_EQ(test::run(work()), "still here");
}

TEST(PortStream, OneThatIsNotPluggedInAgainHasEnded) {
  auto work = []() -> asio::awaitable<std::string> {
    Ends ends = make_ends();
    auto stream = PortStream::start(co_await asio::this_coro::executor, std::move(ends.ours));
    co_await stream->quiesce();
    ends.port.reset();
    co_await stream->detached();
    stream->resume();
    co_return "end" + co_await next(*stream);
  };
  EXPECT_EQ(test::run(work()), "end");
}

TEST(PortStream, AClosedOneFailsWhoWaitsInIt) {
  auto work = []() -> asio::awaitable<std::string> {
    const auto executor = co_await asio::this_coro::executor;
    Ends ends = make_ends();
    auto stream = PortStream::start(executor, std::move(ends.ours));
    std::string failure;
    auto reader = [](PortStream& from, std::string& why) -> asio::awaitable<void> {
      try {
        co_await next(from);
      } catch (const Error& error) {
        why = error.what();
      }
    };
    TaskGroup tasks(executor);
    tasks.spawn("reader", reader(*stream, failure));
    co_await sleep_for(std::chrono::milliseconds(5));
    stream->close();
    co_await sleep_for(std::chrono::milliseconds(5));
    co_await tasks.stop();
    co_return failure;
  };
  EXPECT_EQ(test::run(work()), "the port to the guest is closed");
}

TEST(PortStream, CarriesMoreThanTheSystemHoldsForIt) {
  auto work = []() -> asio::awaitable<bool> {
    const auto executor = co_await asio::this_coro::executor;
    Ends ends = make_ends();
    auto stream = PortStream::start(executor, std::move(ends.ours));
    std::string much(4 << 20, 'x');
    for (std::size_t i = 0; i < much.size(); ++i) much[i] = static_cast<char>(i * 7 >> 3);
    TaskGroup tasks(executor);
    tasks.spawn("writer", tell(*stream, much));
    std::string all;
    while (all.size() < much.size()) {
      all += heard(ends.port);
      co_await sleep_for(std::chrono::milliseconds(1));
    }
    co_await tasks.stop();
    co_return all == much;
  };
  EXPECT_TRUE(test::run(work()));
}

}  // namespace
}  // namespace cl
