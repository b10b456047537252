#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>

#include "provision/channel/wire.hpp"
#include "provision/guest.hpp"

namespace cl {
namespace ssh {
class Pump;
}

struct SshTimings {
  std::chrono::milliseconds banner{10'000};  ///< from the connection to the server's version line
  std::chrono::milliseconds login{30'000};   ///< from there to the end of the authentication
};

struct SshLogin {
  std::string user;
  std::filesystem::path private_key;  ///< ed25519, without a passphrase
  std::string host_key;               ///< the line of ssh_host_ed25519_key.pub, or only its base64 part
  SshTimings timings;
};

/// A guest over one SSH connection. Streams and processes may outlive it: they then fail with Error{io}.
/// Destroying it ends the connection.
class SshGuest : public Guest {
 public:
  explicit SshGuest(std::shared_ptr<ssh::Pump> pump);  // for connect_ssh
  ~SshGuest() override;

  asio::awaitable<std::unique_ptr<GuestProcess>> exec(ExecRequest request) override;
  asio::awaitable<std::unique_ptr<ByteStream>> open_unix(std::string path) override;
  asio::awaitable<std::unique_ptr<ByteStream>> open_tcp(std::string host, std::uint16_t port) override;
  asio::awaitable<void> lost() override;
  const std::shared_ptr<ssh::Pump>& pump() const noexcept { return pump_; }

 private:
  std::shared_ptr<ssh::Pump> pump_;
};

/// Logs in over a transport whose far end is, or soon will be, an SSH server. Sends nothing before the
/// server has spoken. The host key must be the pinned one: there is no trust on first use.
///
/// Errors that trying again cannot mend are Error{guest_failed} (another host key, our key refused) or concern
/// `private_key` ({not_found}, {io} naming the file). Those that may pass are Error{timed_out}, {protocol} and {io}.
asio::awaitable<std::unique_ptr<SshGuest>> connect_ssh(Transport transport, SshLogin login);

}  // namespace cl
