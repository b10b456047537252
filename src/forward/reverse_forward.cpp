#include "src/forward/reverse_forward.hpp"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "src/base/failure.hpp"
#include "src/base/log.hpp"

namespace cl {
namespace {

constexpr auto again = std::chrono::seconds(1);             // after the agent or the guest was lost
constexpr auto answer_patience = std::chrono::seconds(30);  // for this computer's end of a connection

}  // namespace

ReverseForward::ReverseForward(const asio::any_io_executor& executor, Config config)
    : config_(std::move(config)), changed_(executor), tasks_(executor) {
  tasks_.spawn("a socket in the guest", keep_open());
}

ForwardCounters ReverseForward::counters() const { return counters_.with(traffic_); }

asio::awaitable<void> ReverseForward::settled() {
  while (!open_ && problem_.empty()) co_await changed_.wait();
}

asio::awaitable<void> ReverseForward::keep_open() {
  co_await asio::post(asio::use_awaitable);  // whoever makes it has it when on_state is called
  for (;;) {
    const auto failure = co_await failure_of(take_in());
    if (failure) set(false, one_line(*failure));
    co_await sleep_for(again);
  }
}

/// Ends by an exception, when the guest or its agent is lost.
asio::awaitable<void> ReverseForward::take_in() {
  const auto guest = co_await config_.guest();
  const std::shared_ptr<GuestListener> listener = co_await guest->listen(config_.where);
  listener_ = listener;
  set(true, {});
  for (;;) {
    auto arrival = co_await listener->next();
    if (tasks_.size() > config_.most) {
      co_await listener->drop(std::move(arrival));
    } else {
      tasks_.spawn("a connection from the guest", serve(listener, std::move(arrival)));
    }
  }
}

asio::awaitable<void> ReverseForward::forget() {
  if (const auto listener = listener_.lock()) co_await listener->forget();
}

asio::awaitable<void> ReverseForward::serve(std::shared_ptr<GuestListener> listener, GuestListener::Arrival arrival) {
  const ForwardCounters::Connection counted(counters_);
  std::optional<std::unique_ptr<ByteStream>> near;
  auto connect =
      with_timeout(answer_patience, "the answer to a connection from the guest", store(config_.answer(arrival), near));
  const auto failure = co_await failure_of(std::move(connect));
  if (!near) {
    log::debug("{} in the guest: {}", config_.where, failure ? one_line(*failure) : "");
    auto drop = listener->drop(std::move(arrival));
    co_await failure_of(std::move(drop));  // it is gone with the guest
    co_return;
  }
  const auto far = co_await listener->take(std::move(arrival));
  co_await relay(*far, **near, &traffic_);
}

void ReverseForward::set(bool open, std::string problem) {
  if (open == open_ && problem == problem_) return;
  open_ = open;
  problem_ = std::move(problem);
  if (!problem_.empty()) log::debug("{} in the guest: {}", config_.where, problem_);
  changed_.notify_all();
  if (config_.on_state) config_.on_state();
}

}  // namespace cl
