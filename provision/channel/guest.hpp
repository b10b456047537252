#pragma once

#include <memory>
#include <string>

#include "provision/channel/mux.hpp"
#include "provision/guest.hpp"
#include "provision/readiness.hpp"
#include "src/base/task_group.hpp"

namespace cl::mux {

/// A guest whose streams go by the data channel while that stands, and by SSH otherwise; commands always go by SSH.
/// The channel's end in the guest is a program that runs in a session of the same SSH connection, and ends with it.
class MuxGuest : public Guest {
 public:
  MuxGuest(const asio::any_io_executor& executor, std::shared_ptr<Guest> ssh);

  /// Brings the channel up in the background, and up again whenever it is lost. `dial` leads to the guest's ports.
  /// Owner's rule: await stop() before letting go.
  void use(Dial dial);
  /// Whether new streams go by the data channel.
  bool by_mux() const noexcept { return mux_ && mux_->usable(); }

  asio::awaitable<std::unique_ptr<GuestProcess>> exec(ExecRequest request) override;
  asio::awaitable<std::unique_ptr<ByteStream>> open_unix(std::string path) override;
  asio::awaitable<std::unique_ptr<ByteStream>> open_tcp(std::string host, std::uint16_t port) override;
  asio::awaitable<void> lost() override;

  /// For who has reason to doubt that it works: an exchange that must end in `limit`, or the channel is made anew.
  asio::awaitable<void> check(std::chrono::milliseconds limit);

  // What Mux has for a machine that is saved and loaded; a channel that cannot follow is given up, and nobody waits
  // for it. See there.
  asio::awaitable<void> park();
  asio::awaitable<void> unplugged();
  asio::awaitable<void> plug();
  void unpark();

  /// Ends the channel and what brings it up. May be called again.
  asio::awaitable<void> stop();

 private:
  asio::awaitable<void> keep();
  asio::awaitable<void> serve();

  std::shared_ptr<Guest> ssh_;
  Dial dial_;
  std::shared_ptr<Mux> mux_;  ///< from when it is brought up until it is lost
  bool parked_ = false;       ///< there is no machine to bring it up with
  Notifier changed_;          ///< of parked_
  TaskGroup tasks_;
};

}  // namespace cl::mux
