#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/stream.hpp"

/// What the rest of the product knows of a reachable guest: run a program, open a stream. Nothing here says SSH.
namespace cl {

struct TerminalSize {
  int columns = 80;
  int rows = 24;
};

struct ExecRequest {
  std::string command;                   ///< for the login shell's -c; empty = an interactive login shell
  std::optional<TerminalSize> terminal;  ///< give it a pseudo-terminal
  std::string terminal_type = "xterm";   ///< $TERM, with a terminal only
};

/// A program running in the guest. stdin/stdout are the stream; with a terminal, stderr is part of stdout.
class GuestProcess {
 public:
  virtual ~GuestProcess() = default;
  /// stdin (write, shutdown_write) and stdout (read_some).
  virtual ByteStream& io() = 0;
  /// stderr; 0 = ended. Must be read too, or the program may block.
  virtual asio::awaitable<std::size_t> read_errors(std::span<char> space) = 0;
  virtual asio::awaitable<void> resize(TerminalSize size) = 0;
  /// After stdout and stderr ended: the exit code, or 128 + n for signal n, or 255 when the guest said neither.
  virtual asio::awaitable<int> wait_exit() = 0;
};

/// Messages to and from a service of the guest's agent; ends by being destroyed.
class MessageStream {
 public:
  virtual ~MessageStream() = default;
  /// The next message; nothing when the service has ended. Throws Error{io} when the connection broke.
  virtual asio::awaitable<std::optional<std::string>> read() = 0;
  /// Returns once it is on its way.
  virtual asio::awaitable<void> write(std::string_view message) = 0;
};

/// All that a service says until it ends. Throws Error{guest_failed} past `limit` bytes: who speaks is not trusted.
asio::awaitable<std::string> read_to_end(MessageStream& service, std::size_t limit = std::size_t{4} << 20);

/// A UDP socket of the guest that is connected to one address; closed by being destroyed.
class DatagramFlow {
 public:
  using OnDatagram = std::function<void(std::string_view)>;
  virtual ~DatagramFlow() = default;
  /// False when it is lost: too many are on their way, or the guest is.
  virtual bool send(std::string_view datagram) = 0;
  /// Whether what is sent now may arrive: the guest is neither lost nor asleep.
  virtual bool usable() const noexcept = 0;
};

/// A listening socket in the guest; ends by being destroyed, as do the connections that were not taken.
class GuestListener {
 public:
  /// A connection that waits to be taken.
  struct Arrival {
    std::uint32_t number = 0;
    std::string address;  ///< of TCP: where it was going, also when the guest's packet filter sent it here
    std::uint16_t port = 0;
  };
  virtual ~GuestListener() = default;
  /// The next one. Throws Error{guest_failed} when the guest cannot be reached any more.
  virtual asio::awaitable<Arrival> next() = 0;
  /// Its bytes; Error{guest_failed} when it is not there any more.
  virtual asio::awaitable<std::unique_ptr<ByteStream>> take(Arrival arrival) = 0;
  /// It is reset.
  virtual asio::awaitable<void> drop(Arrival arrival) = 0;
  /// A "kept" one ends with this object.
  virtual asio::awaitable<void> forget() { co_return; }
};

/// One reachable guest. Every function throws Error{guest_failed} when the guest cannot be reached any more.
class Guest {
 public:
  virtual ~Guest() = default;
  virtual asio::awaitable<std::unique_ptr<GuestProcess>> exec(ExecRequest request) = 0;
  /// A connection to a unix socket in the guest; Error{guest_failed} too when nobody listens there.
  virtual asio::awaitable<std::unique_ptr<ByteStream>> open_unix(std::string path) = 0;
  /// The same for who knows that somebody listens there: without the wait for an answer, where the guest is far. Of a
  /// connection that is refused the stream breaks.
  virtual asio::awaitable<std::unique_ptr<ByteStream>> open_unix_at_once(std::string path) {
    return open_unix(std::move(path));
  }
  /// A connection to a TCP port as seen from inside the guest.
  virtual asio::awaitable<std::unique_ptr<ByteStream>> open_tcp(std::string host, std::uint16_t port) = 0;
  /// A service of the agent in the guest by its name and arguments (docs/agent.md), now or once the agent is there;
  /// Error{guest_failed} when there is none, or it has no such service.
  virtual asio::awaitable<std::unique_ptr<MessageStream>> open_service(std::string what);
  /// Likewise a UDP socket of the guest; `address` is numeric. What becomes of it is seen by what comes back.
  virtual asio::awaitable<std::unique_ptr<DatagramFlow>> open_udp(std::string address, std::uint16_t port,
                                                                  DatagramFlow::OnDatagram on_datagram);
  /// A socket of the guest that listens: "unix PATH" or "tcp ADDRESS PORT", with a numeric address. A unix socket is
  /// every guest user's to connect to; the folders above it are made. "kept PATH" is one that outlives the listener,
  /// the session and, where the guest's systemd keeps it, the agent: who connects meanwhile waits for the next listener
  /// there. Error{guest_failed} when that is not possible.
  virtual asio::awaitable<std::unique_ptr<GuestListener>> listen(std::string where);
  /// Completes when the guest can no longer be reached through this object (transport ended or broke).
  virtual asio::awaitable<void> lost() = 0;
};

struct GuestResult {
  int exit_code = 0;
  std::string output, errors;  ///< each limited to its last 1 MiB
};

/// What a command reads, piece by piece.
class GuestInput {
 public:
  virtual ~GuestInput() = default;
  /// The next bytes; none at the end. What it throws ends the command.
  virtual asio::awaitable<std::string> next() = 0;
};

/// Runs a command to its end: `input` to stdin, `on_line` for each complete line of stdout as it comes.
asio::awaitable<GuestResult> run_in_guest(Guest& guest, std::string command, std::string input,
                                          std::function<void(std::string_view)> on_line = {});
asio::awaitable<GuestResult> run_in_guest(Guest& guest, std::string command, std::shared_ptr<GuestInput> input,
                                          std::function<void(std::string_view)> on_line = {});

}  // namespace cl
