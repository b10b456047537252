#include "src/forward/tcp_forward.hpp"

#include <gtest/gtest.h>

#include <boost/asio/post.hpp>

#include "src/base/net/socket_stream.hpp"
#include "tests/fakes/choppy_stream.hpp"
#include "tests/support/run.hpp"

namespace cl::test {
namespace {

using Tcp = asio::ip::tcp;
using Stream = std::unique_ptr<ByteStream>;

HostPort free_port(const char* address = "127.0.0.1") {
  asio::io_context io(1);
  const auto at = asio::ip::make_address(address);
  return {Protocol::tcp, at, Tcp::acceptor(io, {at, 0}).local_endpoint().port()};
}

asio::awaitable<void> send_back(std::unique_ptr<MemoryStream> stream) {
  std::array<char, 1000> space;
  for (;;) {
    const std::size_t got = co_await stream->read_some(space);
    if (got == 0) break;
    co_await stream->write(std::span(space).first(got));
  }
  co_await stream->shutdown_write();
}

/// A port behind which each connection is sent back what it sends.
struct Bed {
  explicit Bed(asio::any_io_executor executor_, std::size_t most = 10, HostPort where = free_port())
      : executor(executor_), at(where), tasks(executor) {
    auto open = [this]() -> asio::awaitable<Stream> {
      if (failure) throw *failure;
      auto ends = MemoryStream::pair(executor);
      tasks.spawn("echo", send_back(std::move(ends.second)));
      co_return std::move(ends.first);
    };
    forward.emplace(executor, at, open, most, ec);
  }
  asio::awaitable<Stream> connect() { return connect_tcp(at.address.to_string(), at.port); }
  /// What comes back, or "reset".
  asio::awaitable<std::string> ask(std::string text) {
    try {
      const Stream stream = co_await connect();
      co_await stream->write(text);
      co_await stream->shutdown_write();
      co_return co_await read_to_end(*stream);
    } catch (const Error&) {
      co_return "reset";
    }
  }
  asio::awaitable<void> until_open(std::size_t count) {
    while (forward->counters().connections != count) co_await asio::post(executor, asio::use_awaitable);
  }
  asio::awaitable<void> stop() {
    co_await forward->stop();
    co_await tasks.stop();
  }

  asio::any_io_executor executor;
  HostPort at;
  error_code ec;
  std::optional<Error> failure;
  std::optional<TcpForward> forward;
  TaskGroup tasks;
};

asio::awaitable<std::string> one_exchange(const char* address) {
  Bed bed(co_await asio::this_coro::executor, 10, free_port(address));
  std::string seen = co_await bed.ask("hello");
  co_await bed.until_open(0);
  const ForwardCounters counters = bed.forward->counters();
  seen += " " + std::to_string(counters.accepted) + " " + std::to_string(counters.from_clients) + " " +
          std::to_string(counters.to_clients) + (counters.last_activity > counters.since ? " used" : " unused");
  co_await bed.stop();
  co_return seen;
}

TEST(TcpForward, CarriesAConnectionAndCountsIt) {
  EXPECT_EQ(run(one_exchange("127.0.0.1")), "hello 1 5 5 used");
  EXPECT_EQ(run(one_exchange("::1")), "hello 1 5 5 used");
}

asio::awaitable<std::string> refused() {
  Bed bed(co_await asio::this_coro::executor);
  bed.failure = Error(Errc::guest_failed, "nobody listens there");
  std::string seen = co_await bed.ask("hello");
  co_await bed.until_open(0);
  seen += " " + std::to_string(bed.forward->counters().refused);
  bed.failure.reset();
  seen += " " + co_await bed.ask("again");
  co_await bed.stop();
  co_return seen;
}

TEST(TcpForward, ResetsAConnectionThatNobodyAnswers) { EXPECT_EQ(run(refused()), "reset 1 again"); }

asio::awaitable<std::string> too_many() {
  Bed bed(co_await asio::this_coro::executor, 2);
  Stream first = co_await bed.connect();
  const Stream second = co_await bed.connect();
  co_await bed.until_open(2);
  std::string seen = co_await bed.ask("third");
  first.reset();
  co_await bed.until_open(1);
  seen += " " + co_await bed.ask("fourth");
  co_await bed.stop();
  co_return seen;
}

TEST(TcpForward, ResetsConnectionsBeyondItsLimit) { EXPECT_EQ(run(too_many()), "reset fourth"); }

asio::awaitable<std::string> taken() {
  Bed first(co_await asio::this_coro::executor);
  const Bed second(co_await asio::this_coro::executor, 10, first.at);
  std::string seen = first.ec ? "failed" : "open";
  seen += second.ec == asio::error::address_in_use ? " taken" : " " + second.ec.message();
  co_await first.stop();
  Bed third(co_await asio::this_coro::executor, 10, first.at);
  seen += third.ec ? " failed" : " open";
  co_await third.stop();
  co_return seen;
}

TEST(TcpForward, SaysThatAPortIsTakenAndGivesItsOwnBack) { EXPECT_EQ(run(taken()), "open taken open"); }

asio::awaitable<std::string> stopped() {
  Bed bed(co_await asio::this_coro::executor);
  const Stream quiet = co_await bed.connect();
  co_await bed.until_open(1);
  co_await bed.forward->stop();
  co_await bed.forward->stop();
  std::string seen = std::to_string(bed.forward->counters().connections);
  try {
    seen += " " + co_await read_to_end(*quiet);
  } catch (const Error&) {
    seen += " reset";
  }
  seen += " " + co_await bed.ask("more");
  co_await bed.stop();
  co_return seen;
}

TEST(TcpForward, EndsEveryConnectionWhenStopped) { EXPECT_EQ(run(stopped()), "0 reset reset"); }

TEST(HostPort, IsInTheWayOfTheSameOneOnEveryAddress) {
  const auto port = [](const char* address, std::uint16_t number, Protocol protocol = Protocol::tcp) {
    return HostPort{protocol, asio::ip::make_address(address), number};
  };
  EXPECT_TRUE(in_each_others_way(port("127.0.0.1", 80), port("127.0.0.1", 80)));
  EXPECT_TRUE(in_each_others_way(port("127.0.0.1", 80), port("0.0.0.0", 80)));
  EXPECT_TRUE(in_each_others_way(port("::", 80), port("::1", 80)));
  EXPECT_FALSE(in_each_others_way(port("127.0.0.1", 80), port("127.0.0.2", 80)));
  EXPECT_FALSE(in_each_others_way(port("127.0.0.1", 80), port("127.0.0.1", 81)));
  EXPECT_FALSE(in_each_others_way(port("0.0.0.0", 80), port("::", 80)));
  EXPECT_FALSE(in_each_others_way(port("0.0.0.0", 80), port("0.0.0.0", 80, Protocol::udp)));
}

}  // namespace
}  // namespace cl::test
