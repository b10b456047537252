#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>

#include "profiles/state.hpp"
#include "provision/guest.hpp"
#include "provision/ssh/apart.hpp"

namespace cl {

/// Keeps the connection to one machine's guest: connects, and connects again whenever it is lost. Callers ask for the
/// guest and are served when it is there; nobody else deals with reconnecting. Await stop() before
/// destruction.
class GuestLink {
 public:
  struct Config {
    std::filesystem::path to_guest, from_guest;  ///< sockets, one for each direction or twice the same
    std::filesystem::path to_agent, from_agent;  ///< likewise, of the guest's agent; empty = it is reached by SSH
    SshLogin login;
    SshConnect connect = &connect_ssh_apart;
    std::string remote;     ///< a host that ssh reaches, in the place of all of these
    std::string ssh_agent;  ///< for that ssh: SSH_AUTH_SOCK; empty = the daemon's own
    std::string session;    ///< names the profile there, among others
    std::chrono::milliseconds patience{std::chrono::minutes(3)};  ///< for one connection; a TCG guest boots slowly
    std::chrono::milliseconds answer{std::chrono::seconds(5)};    ///< how long check() waits for the guest
    std::function<void(bool)> on_change;                          ///< told when the guest is reached or lost
    std::function<void()> on_agent;                               ///< told when agent() has changed
  };
  virtual ~GuestLink() = default;

  virtual bool connected() const noexcept = 0;
  /// The guest if it is reached at this moment, else null.
  virtual std::shared_ptr<Guest> current() const noexcept = 0;
  /// The guest, now or once it is reached. Throws Error{guest_failed} after `limit`, or at once with why the link
  /// was given up.
  virtual asio::awaitable<std::shared_ptr<Guest>> guest(std::chrono::milliseconds limit) = 0;
  /// Before the machine is saved: the session falls silent and outlives the machine, its callers wait. False when there
  /// is no session, or when it cannot be brought to rest.
  virtual asio::awaitable<bool> quiesce() = 0;
  /// Once the saved machine's hypervisor is gone: all that came from it is received.
  virtual asio::awaitable<void> detach() = 0;
  /// Connects to the machine that will load what was saved; before it does.
  virtual asio::awaitable<void> reattach() = 0;
  /// The machine runs, again or still: the session goes on.
  virtual void resume() = 0;
  /// Sets the guest's clock; waits for the guest as guest() does. Throws what set_guest_clock() throws.
  virtual asio::awaitable<void> set_clock(std::chrono::milliseconds limit) = 0;
  /// For who has reason to doubt that the session works: a short exchange with the guest, which must end in time, or
  /// the session is given up and made anew. Returns when that is decided. Any number at a time; one asks.
  virtual asio::awaitable<void> check() = 0;
  /// Logs in anew: rights that were given since count from then on. Does nothing where there is nobody to log in.
  virtual void log_in_again() {}
  /// What is wrong with the guest's agent.
  virtual AgentState agent() const { return {}; }
  /// The machine is gone: nobody waits any longer.
  virtual void give_up(Error why) = 0;
  /// Ends the session. Returns when nobody is inside guest() or check() any more.
  virtual asio::awaitable<void> stop() = 0;
};

/// Begins to connect.
using MakeLink = std::function<std::shared_ptr<GuestLink>(asio::any_io_executor, GuestLink::Config)>;

}  // namespace cl
