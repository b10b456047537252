#include "src/forward/node_cover.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

#include "src/base/failure.hpp"
#include "src/base/log.hpp"

namespace cl {
namespace {

constexpr auto again = std::chrono::seconds(1);  // after the agent or the guest was lost
constexpr std::string_view failed = "error ";    // and why

}  // namespace

NodeCover::NodeCover(const asio::any_io_executor& executor, Config config)
    : config_(std::move(config)), changed_(executor), tasks_(executor) {
  ask();
  tasks_.spawn("a covered socket in the guest", keep());
}

void NodeCover::ask() {
  ++asked_;
  changed_.notify_all();
}

asio::awaitable<void> NodeCover::look() {
  ask();
  const std::uint64_t turn = asked_;
  while (answered_ < turn) co_await changed_.wait();
}

asio::awaitable<void> NodeCover::forget() {
  if (const auto agent = agent_.lock()) co_await agent->write("forget");
}

asio::awaitable<void> NodeCover::keep() {
  for (;;) {
    if (const auto failure = co_await failure_of(serve())) set(one_line(*failure));
    told_.clear();
    answer(asked_);
    co_await sleep_for(again);
    ask();  // of another agent
  }
}

/// Ends by an exception, when the guest or its agent is lost.
asio::awaitable<void> NodeCover::serve() {
  const auto guest = co_await config_.guest();
  const std::shared_ptr<MessageStream> agent =
      co_await guest->open_service("cover " + config_.socket + " " + config_.node);
  agent_ = agent;
  const auto ended = std::make_shared<bool>(false);
  tasks_.spawn("what covers a socket in the guest", read_answers(agent, ended));
  std::uint64_t turn = answered_;
  while (!*ended) {
    if (turn == asked_) {
      co_await changed_.wait();
      continue;
    }
    turn = asked_;
    told_.push_back(turn);
    co_await agent->write("look");
  }
  throw Error(Errc::guest_failed, "the guest's agent is lost");
}

asio::awaitable<void> NodeCover::read_answers(std::shared_ptr<MessageStream> agent, std::shared_ptr<bool> ended) {
  auto read = [](NodeCover& cover, MessageStream& from) -> asio::awaitable<void> {
    while (const auto said = co_await from.read()) {
      if (cover.told_.empty()) continue;
      const bool bad = said->starts_with(failed);
      cover.set(bad ? said->substr(failed.size()) : std::string());
      const std::uint64_t turn = cover.told_.front();
      cover.told_.pop_front();
      cover.answer(turn);
    }
  };
  co_await failure_of(read(*this, *agent));
  *ended = true;
  changed_.notify_all();
}

void NodeCover::answer(std::uint64_t turn) {
  answered_ = std::max(answered_, turn);
  changed_.notify_all();
}

void NodeCover::set(std::string problem) {
  if (problem == problem_) return;
  problem_ = std::move(problem);
  if (!problem_.empty()) log::debug("{} in the guest: {}", config_.node, problem_);
  if (config_.on_state) config_.on_state();
}

}  // namespace cl
