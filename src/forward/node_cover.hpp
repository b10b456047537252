#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>

#include "provision/guest.hpp"
#include "src/base/task_group.hpp"

namespace cl {

/// Has a socket of the guest laid over a node that a shared folder shows there (the agent's service "cover"), and again
/// whenever the guest or its agent comes back. Owner's rule: await stop() before destruction.
class NodeCover {
 public:
  struct Config {
    std::string socket, node;  ///< the guest's paths; no space is in the first
    std::function<asio::awaitable<std::shared_ptr<Guest>>()> guest;
    std::function<void()> on_state;  ///< problem() has changed
  };
  NodeCover(const asio::any_io_executor& executor, Config config);

  /// Has the guest look whether it is laid over the node as it is now. Returns when that is known; it has no limit of
  /// its own.
  asio::awaitable<void> look();
  /// The same, without waiting.
  void ask();
  /// Why it is not; empty while it is, or nothing is known yet.
  const std::string& problem() const noexcept { return problem_; }
  /// Before stop(): it is taken away. Otherwise it stays, and with it those who wait for the socket.
  asio::awaitable<void> forget();
  asio::awaitable<void> stop() { return tasks_.stop(); }

 private:
  asio::awaitable<void> keep();
  asio::awaitable<void> serve();
  asio::awaitable<void> read_answers(std::shared_ptr<MessageStream> agent, std::shared_ptr<bool> ended);
  void set(std::string problem);
  void answer(std::uint64_t turn);

  Config config_;
  std::uint64_t asked_ = 0, answered_ = 0;
  std::deque<std::uint64_t> told_;  ///< what the agent has still to answer
  std::string problem_;
  std::weak_ptr<MessageStream> agent_;
  Notifier changed_;
  TaskGroup tasks_;
};

}  // namespace cl
