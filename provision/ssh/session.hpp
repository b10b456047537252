#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

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
  std::string key;                    ///< what is in it; empty = it is read from there
  std::string host_key;               ///< the line of ssh_host_ed25519_key.pub, or only its base64 part
  SshTimings timings;
};

/// A guest over one SSH connection. Streams and processes may outlive it: they then fail with Error{io}.
/// Destroying it ends the connection.
class SshSession : public Guest {
 public:
  virtual bool ended() const noexcept = 0;
  /// Ends it now: pending calls fail. May be called again.
  virtual void stop() noexcept = 0;

  // A session outlives its transport when both ends do: the guest's memory is saved and loaded, ours stays.
  /// Stops sending; returns once the guest has taken in everything sent so far. From then on the transport's end is not
  /// the session's: callers wait. Throws Error{io} when the transport ends before, Error{timed_out} when the guest does
  /// not read.
  virtual asio::awaitable<void> quiesce() = 0;
  /// After quiesce(): returns when the transport has ended, and all that came over it is received.
  virtual asio::awaitable<void> detached() = 0;
  /// Then: receives over another transport to the same guest.
  virtual void reattach(Transport transport) = 0;
  /// Sends again.
  virtual void resume() = 0;
};

/// Logs in over a transport.
using SshConnect = std::function<asio::awaitable<std::unique_ptr<SshSession>>(Transport, SshLogin)>;

/// In this process.
class SshGuest : public SshSession {
 public:
  explicit SshGuest(std::shared_ptr<ssh::Pump> pump);  // for connect_ssh
  ~SshGuest() override;

  asio::awaitable<std::unique_ptr<GuestProcess>> exec(ExecRequest request) override;
  asio::awaitable<std::unique_ptr<ByteStream>> open_unix(std::string path) override;
  asio::awaitable<std::unique_ptr<ByteStream>> open_tcp(std::string host, std::uint16_t port) override;
  asio::awaitable<void> lost() override;
  bool ended() const noexcept override;
  void stop() noexcept override;
  asio::awaitable<void> quiesce() override;
  asio::awaitable<void> detached() override;
  void reattach(Transport transport) override;
  void resume() override;
  const std::shared_ptr<ssh::Pump>& pump() const noexcept { return pump_; }

 private:
  std::shared_ptr<ssh::Pump> pump_;
};

/// Logs in over a transport whose far end is, or soon will be, an SSH server. Sends nothing before the
/// server has spoken. The host key must be the pinned one: there is no trust on first use.
///
/// It is for the process of a session (apart.hpp) and for tests: the library that reads what the guest sends has had
/// faults.
///
/// Errors that trying again cannot mend are Error{guest_failed} (another host key, our key refused) or concern
/// `private_key` ({not_found}, {io} naming the file). Those that may pass are Error{timed_out}, {protocol} and {io}.
asio::awaitable<std::unique_ptr<SshGuest>> connect_ssh(Transport transport, SshLogin login);

namespace ssh {

/// The remedies of its errors.
inline constexpr std::string_view key_changed =
    "if the guest's disk was replaced on purpose, delete the profile and start it again; the data disk is kept";
inline constexpr std::string_view key_refused = "delete the profile and start it again; the data disk is kept";

}  // namespace ssh

}  // namespace cl
