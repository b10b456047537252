#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>

#include "provision/guest.hpp"
#include "provision/ssh/session.hpp"
#include "src/base/task_group.hpp"

namespace cl {

/// Keeps one SSH session to the guest alive: connects, and connects again whenever it is lost. Callers ask for the
/// guest and are served when it is there; nobody else deals with reconnecting.
class GuestLink {
 public:
  struct Config {
    std::filesystem::path socket;
    SshLogin login;
    std::chrono::milliseconds patience{std::chrono::minutes(3)};  ///< for one connection; a TCG guest boots slowly
    std::function<void(bool)> on_change;                          ///< told when the guest is reached or lost
  };
  GuestLink(asio::any_io_executor executor, Config config);

  bool connected() const noexcept { return guest_ != nullptr; }
  /// The guest, now or once it is reached. Throws Error{guest_failed} after `limit`, or at once with why the link
  /// was given up.
  asio::awaitable<std::shared_ptr<Guest>> guest(std::chrono::milliseconds limit);
  /// The machine is gone: nobody waits any longer.
  void give_up(Error why);
  asio::awaitable<void> stop();

 private:
  asio::awaitable<void> keep_connected();
  asio::awaitable<std::shared_ptr<Guest>> wait_for_guest();

  Config config_;
  Notifier changed_;
  std::shared_ptr<Guest> guest_;
  std::optional<Error> last_failure_;
  std::optional<Error> given_up_;
  TaskGroup tasks_;
};

}  // namespace cl
