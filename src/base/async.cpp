#include "src/base/async.hpp"

namespace cl {

asio::awaitable<void> with_timeout(std::chrono::milliseconds limit, std::string doing, asio::awaitable<void> op) {
  auto executor = co_await asio::this_coro::executor;
  asio::steady_timer timer(executor, limit);
  auto group = asio::experimental::make_parallel_group(asio::co_spawn(executor, std::move(op), asio::deferred),
                                                       timer.async_wait(asio::deferred));
  auto [order, failure, timer_ec] = co_await group.async_wait(asio::experimental::wait_for_one(), asio::use_awaitable);
  if (order[0] == 1 && !timer_ec) throw Error(Errc::timed_out, doing + " took too long");
  if (failure) std::rethrow_exception(failure);
}

asio::awaitable<void> uninterrupted(asio::awaitable<void> op) {
  auto executor = co_await asio::this_coro::executor;
  co_await asio::co_spawn(executor, std::move(op),
                          asio::bind_cancellation_slot(asio::cancellation_slot(), asio::use_awaitable));
}

}  // namespace cl
