#pragma once

#include <poll.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/experimental/parallel_group.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <exception>
#include <optional>
#include <string>
#include <utility>

#include "src/base/error.hpp"

namespace cl {

namespace asio = boost::asio;
using boost::system::error_code;

/// Completion token of leaf I/O: the error_code comes back as a value.
inline constexpr auto no_throw = asio::as_tuple(asio::use_awaitable);

inline asio::awaitable<void> sleep_for(std::chrono::milliseconds time) {
  asio::steady_timer timer(co_await asio::this_coro::executor, time);
  co_await timer.async_wait(asio::use_awaitable);
}

/// `op`, whose result goes into `result`. What Asio makes of each type of awaitable takes long to compile: with this,
/// all that is spawned is one of nothing.
template <class T>
asio::awaitable<void> store(asio::awaitable<T> op, std::optional<T>& result) {
  result.emplace(co_await std::move(op));
}

/// Runs `op` and cancels it after `limit` with Error{timed_out} "<doing> took too long".
/// Returns only when `op` has really finished, so nothing that it borrowed can dangle; an op that
/// disables cancellation therefore delays the timeout. Not `op || timer`: that waits for a success
/// and swallows the error of a failing op.
asio::awaitable<void> with_timeout(std::chrono::milliseconds limit, std::string doing, asio::awaitable<void> op);

template <class T>
asio::awaitable<T> with_timeout(std::chrono::milliseconds limit, std::string doing, asio::awaitable<T> op) {
  std::optional<T> result;
  auto work = store(std::move(op), result);
  co_await with_timeout(limit, std::move(doing), std::move(work));
  co_return std::move(*result);  // NOLINT(bugprone-unchecked-optional-access): `work` has ended well
}

/// Runs `op` to its end out of reach of the caller's cancellation, for cleaning up. Once cancelled, a coroutine cannot
/// await anything, so say `co_await asio::this_coro::throw_if_cancelled(false)` before it and `true` after it. Not
/// reset_cancellation_state(): that holds for everything the caller's caller does afterwards, too.
asio::awaitable<void> uninterrupted(asio::awaitable<void> op);

template <class T>
asio::awaitable<T> uninterrupted(asio::awaitable<T> op) {
  std::optional<T> result;
  auto work = store(std::move(op), result);
  co_await uninterrupted(std::move(work));
  co_return std::move(*result);  // NOLINT(bugprone-unchecked-optional-access): `work` has ended well
}

/// A latch for one thread: wait() returns once set() was called, at once if that was before.
class Event {
 public:
  explicit Event(const asio::any_io_executor& executor) : timer_(executor, asio::steady_timer::time_point::max()) {}

  bool is_set() const noexcept { return set_; }
  /// Latches. Moving the expiry also wakes whoever waits now; cancel() would be lost on later waiters.
  void set() {
    set_ = true;
    timer_.expires_at(asio::steady_timer::time_point::min());
  }
  void reset() {
    set_ = false;
    timer_.expires_at(asio::steady_timer::time_point::max());
  }
  asio::awaitable<void> wait() {
    while (!set_) {
      co_await timer_.async_wait(no_throw);
      const auto state = co_await asio::this_coro::cancellation_state;
      if (!set_ && state.cancelled() != asio::cancellation_type::none)
        throw boost::system::system_error(asio::error::operation_aborted);
    }
  }

 private:
  bool set_ = false;
  asio::steady_timer timer_;
};

/// Returns when poll() says so, or with why there is nothing to wait for. Asio alone may say it by mistake, by an event
/// of an earlier descriptor whose state object it used again. `events` as in poll(2); what is wrong is always told.
template <class Descriptor>
asio::awaitable<error_code> ready(Descriptor& descriptor, typename Descriptor::wait_type what, short events) {
  for (;;) {
    auto [ec] = co_await descriptor.async_wait(what, no_throw);
    if (ec == asio::error::operation_aborted) throw boost::system::system_error(ec);
    pollfd now{descriptor.native_handle(), events, 0};
    if (ec || ::poll(&now, 1, 0) > 0) co_return ec;
  }
}

/// Returns when the peer of a connected socket is gone altogether, also while what it sent lies unread. Where the
/// system cannot tell, nobody is told.
template <class Socket>
asio::awaitable<void> hung_up(Socket& socket) {
  const error_code unknown = co_await ready(socket, Socket::wait_error, 0);
  if (!unknown) co_return;
  Event never(socket.get_executor());
  co_await never.wait();
}

/// Wakes everybody who waits at that moment; for conditions that the waiter checks itself in a loop.
/// On one thread nothing can happen between the check and the wait.
class Notifier {
 public:
  explicit Notifier(const asio::any_io_executor& executor) : timer_(executor, asio::steady_timer::time_point::max()) {}

  void notify_all() { timer_.cancel(); }
  asio::awaitable<void> wait() {
    co_await timer_.async_wait(no_throw);
    const auto state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() != asio::cancellation_type::none)
      throw boost::system::system_error(asio::error::operation_aborted);
  }

 private:
  asio::steady_timer timer_;
};

}  // namespace cl
