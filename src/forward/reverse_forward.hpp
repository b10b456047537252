#pragma once

#include <functional>
#include <memory>
#include <string>

#include "provision/guest.hpp"
#include "src/base/net/relay.hpp"
#include "src/base/task_group.hpp"
#include "src/forward/socket_forward.hpp"

namespace cl {

/// A socket in the guest whose connections are answered by this computer. It is made again whenever the guest or its
/// agent comes back. Owner's rule: await stop() before destruction.
class ReverseForward {
 public:
  using ReachGuest = std::function<asio::awaitable<std::shared_ptr<Guest>>()>;
  /// The other end of a connection; when it throws, who connected is reset.
  using Answer = std::function<asio::awaitable<std::unique_ptr<ByteStream>>(GuestListener::Arrival)>;
  struct Config {
    std::string where;  ///< as Guest::listen() takes it
    ReachGuest guest;
    Answer answer;
    std::size_t most = 256;          ///< connections at a time; further ones are reset
    std::function<void()> on_state;  ///< is_open() or problem() has changed
  };

  ReverseForward(const asio::any_io_executor& executor, Config config);

  bool is_open() const noexcept { return open_; }
  /// Why it is not open; empty while it is, or nothing has gone wrong yet.
  const std::string& problem() const noexcept { return problem_; }
  /// What comes from the guest is from clients.
  ForwardCounters counters() const;
  /// Returns once it is open, or has a problem.
  asio::awaitable<void> settled();
  /// Ends its connections, too. One that the guest keeps waits there for the next that listens.
  asio::awaitable<void> stop() { return tasks_.stop(); }
  /// Before stop(): the guest keeps it no longer.
  asio::awaitable<void> forget();

 private:
  asio::awaitable<void> keep_open();
  asio::awaitable<void> take_in();
  asio::awaitable<void> serve(std::shared_ptr<GuestListener> listener, GuestListener::Arrival arrival);
  void set(bool open, std::string problem);

  Config config_;
  bool open_ = false;
  std::string problem_;
  std::weak_ptr<GuestListener> listener_;
  ForwardCounters counters_;
  Traffic traffic_;
  Notifier changed_;
  TaskGroup tasks_;
};

}  // namespace cl
