#pragma once

#include <sys/types.h>

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "src/base/async.hpp"

namespace cl {

/// A connection to QEMU's control socket. Any number of commands may be in flight; replies are matched by id
/// and may come in any order with events between them.
///
/// QEMU serves one client at a time per socket: a second one connects, but is never greeted until the first leaves.
class QmpClient {
 public:
  /// Called with an event's name ("SHUTDOWN") and data, in order. It must not destroy the client.
  using OnEvent = std::function<void(std::string_view name, const boost::json::object& data)>;

  /// Connects and leaves the negotiation mode, after which commands are accepted.
  /// Throws Error{not_found} when nobody listens at `socket`, Error{busy} when somebody does but sends no
  /// greeting within `limit`, Error{protocol} when it hangs up or is no QEMU.
  static asio::awaitable<std::unique_ptr<QmpClient>> connect(std::filesystem::path socket,
                                                             std::chrono::milliseconds limit, OnEvent on_event);
  QmpClient(const QmpClient&) = delete;
  QmpClient& operator=(const QmpClient&) = delete;
  /// Hangs up; QEMU goes on running. Commands in flight fail.
  ~QmpClient();

  /// The reply's "return" value. Throws Error{protocol} with QEMU's own words when it refuses, and when the
  /// connection is or gets lost. Cancelling drops the reply, not the command.
  asio::awaitable<boost::json::value> execute(std::string command, boost::json::object arguments = {});

  bool is_open() const noexcept;
  /// Returns once the connection is gone: QEMU ended, or spoke nonsense, or close() was called.
  asio::awaitable<void> closed();
  void close() noexcept;

  /// The process at the other end.
  pid_t peer_pid() const;

 private:
  struct Core;
  explicit QmpClient(std::shared_ptr<Core> core);
  std::shared_ptr<Core> core_;  ///< shared with the reading and the writing task, which end soon after close()
};

}  // namespace cl
