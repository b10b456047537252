#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>

#include "provision/channel/guest.hpp"
#include "provision/clock.hpp"
#include "provision/guest.hpp"
#include "provision/ssh/session.hpp"
#include "src/base/task_group.hpp"

namespace cl {

/// Keeps one SSH session to the guest alive, and beside it a data channel (provision/channel/guest.hpp): connects, and
/// connects again whenever it is lost. Callers ask for the guest and are served when it is there; nobody else deals
/// with reconnecting.
class GuestLink : public std::enable_shared_from_this<GuestLink> {
 public:
  struct Config {
    std::filesystem::path to_guest, from_guest;  ///< sockets, one for each direction or twice the same
    SshLogin login;
    std::chrono::milliseconds patience{std::chrono::minutes(3)};  ///< for one connection; a TCG guest boots slowly
    std::chrono::milliseconds answer{std::chrono::seconds(5)};    ///< how long check() waits for the guest
    std::function<void(bool)> on_change;                          ///< told when the guest is reached or lost
  };
  /// Begins to connect. Owner's rule: await stop() before letting go.
  static std::shared_ptr<GuestLink> start(asio::any_io_executor executor, Config config);
  GuestLink(asio::any_io_executor executor, Config config);  // for start()

  bool connected() const noexcept { return guest_ != nullptr; }
  /// The guest if it is reached at this moment, else null.
  std::shared_ptr<Guest> current() const noexcept { return guest_ ? front_ : nullptr; }
  /// From now on streams go by a data channel whenever one stands; it is brought up in the background.
  void use_data_port(std::filesystem::path to_guest, std::filesystem::path from_guest);
  /// The guest, now or once it is reached. Throws Error{guest_failed} after `limit`, or at once with why the link
  /// was given up.
  asio::awaitable<std::shared_ptr<Guest>> guest(std::chrono::milliseconds limit);
  /// Before the machine is saved: the session falls silent and outlives the machine, its callers wait. False when there
  /// is no session, or when it cannot be brought to rest.
  asio::awaitable<bool> park();
  /// Once the saved machine's hypervisor is gone: all that came from it is received.
  asio::awaitable<void> drained();
  /// Connects to the machine that will load what was saved; before it does.
  asio::awaitable<void> plug();
  /// The machine runs, again or still: the session goes on.
  void unpark();
  /// Sets the guest's clock; waits for the guest as guest() does. Throws what GuestClock::set() throws.
  asio::awaitable<void> set_clock(std::chrono::milliseconds limit);
  /// For who has reason to doubt that the session works: a short exchange with the guest, which must end in time, or
  /// the session is given up and made anew. Returns when that is decided. Any number at a time; one asks.
  asio::awaitable<void> check();
  /// The machine is gone: nobody waits any longer.
  void give_up(Error why);
  /// Ends the session. Returns when nobody is inside guest() or check() any more.
  asio::awaitable<void> stop();

 private:
  /// Counts who is inside; a link must not go while somebody is.
  struct Visit {
    GuestLink& link;
    explicit Visit(GuestLink& of) : link(of) { ++link.visitors_; }
    Visit(const Visit&) = delete;
    Visit& operator=(const Visit&) = delete;
    ~Visit() {
      if (--link.visitors_ == 0) link.left_.notify_all();
    }
  };
  /// Keeps the link alive for as long as it has something to wait for.
  static asio::awaitable<void> keep_connected(std::shared_ptr<GuestLink> self);
  asio::awaitable<std::shared_ptr<Guest>> wait_for_guest();
  asio::awaitable<void> set_clock_of(std::shared_ptr<Guest> reached);

  asio::any_io_executor executor_;
  Config config_;
  Notifier changed_, left_;
  std::size_t visitors_ = 0;
  std::shared_ptr<SshGuest> guest_;
  std::shared_ptr<mux::MuxGuest> front_;  ///< guest_ as others get it
  Dial dial_data_;
  std::shared_ptr<GuestClock> clock_;  ///< of guest_
  bool checking_ = false;
  bool parked_ = false;  ///< callers wait until unpark()
  std::optional<Error> last_failure_;
  std::optional<Error> given_up_;
  TaskGroup tasks_;
};

}  // namespace cl
