#include "src/forward/tcp_forward.hpp"

#include <algorithm>

#include "src/base/failure.hpp"
#include "src/base/log.hpp"
#include "src/base/net/socket_stream.hpp"

namespace cl {
namespace {

using namespace std::chrono_literals;

constexpr auto accept_pause = 200ms;  // when descriptors have run out

}  // namespace

TcpForward::TcpForward(const asio::any_io_executor& executor, HostPort at, SocketForward::Open open, std::size_t most,
                       error_code& ec)
    : at_(std::move(at)), name_(at_.str()), open_(std::move(open)), most_(most), acceptor_(executor), tasks_(executor) {
  ec = listen_tcp(acceptor_, at_);
  counters_.since = counters_.last_activity = std::chrono::steady_clock::now();
  if (!ec) tasks_.spawn("listener of " + name_, accept());
}

asio::awaitable<void> TcpForward::stop() {
  error_code ignored;
  acceptor_.close(ignored);
  co_await tasks_.stop();
}

ForwardCounters TcpForward::counters() const { return counters_.with(traffic_); }

asio::awaitable<void> TcpForward::accept() {
  for (;;) {
    auto [ec, socket] = co_await acceptor_.async_accept(no_throw);
    if (ec == asio::error::operation_aborted || !acceptor_.is_open()) co_return;
    if (!ec) {
      tasks_.spawn("connection of " + name_, serve(std::move(socket)));
      continue;
    }
    ++counters_.accept_errors;
    if (ec == asio::error::connection_aborted) continue;
    log::warn("cannot accept a connection on {}: {}; trying again", name_, ec.message());
    co_await sleep_for(accept_pause);
  }
}

asio::awaitable<void> TcpForward::serve(Tcp::socket socket) {
  SocketStream client(std::move(socket));
  const ForwardCounters::Connection counted(counters_);
  std::unique_ptr<ByteStream> target;
  auto open = [this, &target]() -> asio::awaitable<void> { target = co_await open_(); };
  std::optional<Error> failure;
  if (counters_.connections > most_)
    failure = Error(Errc::busy, std::to_string(most_) + " connections are open, and that is as many as may be");
  if (!failure) failure = co_await failure_of(open());
  if (failure || !target) {
    ++counters_.refused;
    if (failure) log::info("a connection to {} was refused: {}", name_, one_line(*failure));
    co_return client.close();
  }
  const RelayCount count = co_await relay(client, *target, &traffic_);
  if (!count.broken.empty()) log::debug("a connection to {} broke: {}", name_, count.broken);
}

}  // namespace cl
