#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "provision/ssh/session.hpp"
#include "src/base/async.hpp"

namespace cl {

/// Makes a new connection to where the guest's SSH server is or will be. Throws Error when it cannot.
using Dial = std::function<asio::awaitable<Transport>()>;

/// Dials a unix socket, or two of which one carries each direction where the paths differ. Error{io} when nobody
/// listens there, Error{invalid_config} when the path is too long for one.
Dial unix_dial(std::filesystem::path to_guest, std::filesystem::path from_guest);

struct ReadinessTimings {
  std::chrono::milliseconds total{180'000};
  /// How long a connection may stay silent before it is dialled again, for the first, second, ... connection; the last
  /// is for all further ones. A booting guest is silent too, so dialling again must do no harm, and does none.
  std::vector<std::chrono::milliseconds> banner_patience{std::chrono::seconds(3), std::chrono::seconds(5),
                                                         std::chrono::seconds(8)};
  /// Between two connections, so that a server that still serves the old one sees its end.
  std::chrono::milliseconds redial_pause{300};
};

/// Waits for a booting guest's SSH server and logs in. Nothing is polled while a connection stands: the server's
/// greeting arrives by itself. Connections that fail, stay silent, break or speak nonsense are tried again
/// (login.timings.banner is not used). Another host key, a refused key and a missing key file fail at once, as
/// connect_ssh says. After `total`: Error{guest_failed} because of the last failure.
asio::awaitable<std::unique_ptr<SshSession>> wait_for_ssh(Dial dial, SshLogin login, SshConnect connect,
                                                          ReadinessTimings timings = {});

}  // namespace cl
