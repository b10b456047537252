#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "docker/ports.hpp"
#include "provision/guest.hpp"
#include "src/base/task_group.hpp"

namespace cl {

/// Knows on which ports of the guest programs listen, by a small program that runs there for as long as this lives
/// (docker/listen_watch.pl) and is told by the guest's kernel. Owner's rule: await stop() before destruction.
class ListenerWatch {
 public:
  using ReachGuest = std::function<asio::awaitable<std::shared_ptr<Guest>>()>;

  /// `on_change` is told when now() has changed.
  ListenerWatch(asio::any_io_executor executor, ReachGuest guest, std::function<void()> on_change);

  /// As last told; empty while the guest is away.
  const std::vector<Listener>& now() const noexcept { return now_; }

  asio::awaitable<void> stop() { return tasks_.stop(); }

 private:
  asio::awaitable<void> keep_watching();
  asio::awaitable<void> watch(std::shared_ptr<Guest> reached);
  void take(std::string& unread, std::vector<Listener>& list);
  void set(std::vector<Listener> list);

  ReachGuest guest_;
  std::function<void()> on_change_;
  std::vector<Listener> now_;
  TaskGroup tasks_;
};

}  // namespace cl
