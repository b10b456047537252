#include "src/base/net/socket_stream.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/read.hpp>

#include "src/base/task_group.hpp"
#include "tests/fakes/choppy_stream.hpp"
#include "tests/support/run.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl::test {
namespace {

using asio::ip::tcp;
using Unix = asio::local::stream_protocol;

struct UnixPair {
  explicit UnixPair(const asio::any_io_executor& executor) : far(executor) {
    Unix::socket ours(executor);
    asio::local::connect_pair(ours, far);
    near.emplace(std::move(ours));
  }
  std::optional<SocketStream> near;
  Unix::socket far;
};

struct TcpPair {
  explicit TcpPair(const asio::any_io_executor& executor) : far(executor) {
    tcp::acceptor acceptor(executor, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
    far.open(tcp::v4());
    far.set_option(asio::socket_base::receive_buffer_size(4096));  // so that bytes stay in our own buffer
    far.connect(acceptor.local_endpoint());
    tcp::socket ours = acceptor.accept();
    ours.set_option(asio::socket_base::send_buffer_size(200 * 1024));
    handle = ours.native_handle();
    near.emplace(std::move(ours));
  }
  std::optional<SocketStream> near;
  tcp::socket far;
  int handle;
};

asio::awaitable<void> write_all(ByteStream& stream, std::string text) {
  co_await stream.write(text);
  co_await stream.shutdown_write();
}

asio::awaitable<std::string> through_a_unix_socket(std::string text) {
  auto executor = co_await asio::this_coro::executor;
  UnixPair pair(executor);
  SocketStream far(std::move(pair.far));
  TaskGroup tasks(executor);
  tasks.spawn("writer", write_all(*pair.near, text));
  std::string got = co_await read_to_end(far);
  co_await write_all(far, "back");
  got += co_await read_to_end(*pair.near);
  co_await tasks.stop();
  co_return got;
}

TEST(SocketStream, WaitsForASlowReaderAndHalfCloses) {
  const std::string text(4 << 20, 'x');
  EXPECT_TRUE(run(through_a_unix_socket(text)) == text + "back");
}

asio::awaitable<std::string> peer_reads_after_close(bool ended_first) {
  TcpPair pair(co_await asio::this_coro::executor);
  std::array<char, 16> space;
  co_await pair.near->write(std::string(128 * 1024, 'x'));
  if (ended_first) {
    pair.far.shutdown(tcp::socket::shutdown_send);
    co_await pair.near->read_some(space);
    co_await pair.near->shutdown_write();
  }
  pair.near->close();
  std::string got;
  auto [ec, size] = co_await asio::async_read(pair.far, asio::dynamic_buffer(got), no_throw);
  co_return (size == 128 * 1024 ? "all, " : "a part, ") + ec.message();
}

TEST(SocketStream, ResetsATcpConnectionThatIsClosedBeforeItsEnd) {
  EXPECT_EQ(run(peer_reads_after_close(false)), "a part, Connection reset by peer");
}
TEST(SocketStream, DeliversTheRestOfATcpConnectionThatIsClosedAfterBothEnds) {
  EXPECT_EQ(run(peer_reads_after_close(true)), "all, End of file");
}

asio::awaitable<std::string> read_failure(bool close_ours) {
  auto executor = co_await asio::this_coro::executor;
  TcpPair pair(executor);
  if (close_ours) {
    pair.near->close();
    pair.near->close();
  } else {
    pair.far.set_option(asio::socket_base::linger(true, 0));
    pair.far.close();
  }
  std::array<char, 16> space;
  try {
    co_await pair.near->read_some(space);
  } catch (const Error& error) {
    co_return one_line(error);
  }
  co_return "no error";
}

TEST(SocketStream, ThrowsWhenThePeerResets) {
  EXPECT_EQ(run(read_failure(false)), "cannot read from the connection: Connection reset by peer");
}
TEST(SocketStream, ThrowsAfterItsOwnClose) {
  EXPECT_EQ(run(read_failure(true)), "cannot read from the connection: the connection was closed");
}

asio::awaitable<std::string> write_to_a_gone_peer() {
  UnixPair pair(co_await asio::this_coro::executor);
  pair.far.close();
  try {
    co_await pair.near->write(std::string_view("x"));
  } catch (const Error& error) {
    co_return error.cause();
  }
  co_return "no error";
}

TEST(SocketStream, ThrowsWhenThePeerIsGoneAndRaisesNoSignal) { EXPECT_EQ(run(write_to_a_gone_peer()), "Broken pipe"); }

asio::awaitable<std::pair<int, int>> options_of_a_tcp_socket() {
  TcpPair pair(co_await asio::this_coro::executor);
  int no_delay = 0;
  socklen_t size = sizeof no_delay;
  ::getsockopt(pair.handle, IPPROTO_TCP, TCP_NODELAY, &no_delay, &size);
  co_return std::pair(no_delay, ::fcntl(pair.handle, F_GETFD));
}

TEST(SocketStream, SendsSmallPiecesAtOnceAndIsClosedOnExec) {
  const auto [no_delay, flags] = run(options_of_a_tcp_socket());
  EXPECT_NE(no_delay, 0);
  EXPECT_EQ(flags, FD_CLOEXEC);
}

asio::awaitable<std::string> when_hung_up(bool whole) {
  auto executor = co_await asio::this_coro::executor;
  UnixPair pair(executor);
  bool seen = false;
  auto watch = [](SocketStream* stream, bool* flag) -> asio::awaitable<void> {
    co_await stream->hung_up();
    *flag = true;
  };
  TaskGroup tasks(executor);
  tasks.spawn("watch", watch(&*pair.near, &seen));
  pair.far.shutdown(Unix::socket::shutdown_send);
  std::array<char, 16> space;
  co_await pair.near->read_some(space);  // the event loop has seen the half-close
  for (int turn = 0; turn < 20; ++turn) co_await asio::post(executor, asio::use_awaitable);
  const std::string half = seen ? "half-close reported" : "half-close ignored";
  if (whole) {
    pair.far.close();
    while (tasks.size() > 0) co_await asio::post(executor, asio::use_awaitable);
  }
  co_await tasks.stop();
  co_return half + (seen ? ", hung up" : ", not hung up");
}

TEST(SocketStream, TellsAHangUpFromAHalfClose) {
  EXPECT_EQ(run(when_hung_up(false)), "half-close ignored, not hung up");
#ifdef __linux__
  EXPECT_EQ(run(when_hung_up(true)), "half-close ignored, hung up");
#endif
}

template <class T>
std::string error_of(asio::awaitable<T> work) {
  try {
    run(std::move(work));
  } catch (const Error& error) {
    return one_line(error);
  }
  return "no error";
}

TEST(ConnectUnix, NamesThePathAndTheCause) {
  EXPECT_EQ(error_of(connect_unix("/nonexistent/a.sock")),
            "cannot connect to /nonexistent/a.sock: No such file or directory");
  EXPECT_NE(error_of(connect_unix("/" + std::string(200, 'a'))).find("too long"), std::string::npos);
}

TEST(ConnectTcp, RefusesWhatIsNoAddress) {
  EXPECT_EQ(error_of(connect_tcp("localhost", 1)), "'localhost' is no IP address");
}

}  // namespace
}  // namespace cl::test
