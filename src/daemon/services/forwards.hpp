#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "profiles/forwards.hpp"
#include "provision/guest.hpp"
#include "src/base/task_group.hpp"
#include "src/daemon/service.hpp"
#include "src/forward/host_port.hpp"
#include "src/forward/socket_forward.hpp"
#include "src/forward/udp_forward.hpp"

namespace cl {

struct Core;

/// One forward, for a report.
struct ForwardStatus : ForwardState {
  std::size_t connections = 0;                    ///< open now; none of UDP
  std::uint64_t into_machine = 0, out_of_it = 0;  ///< bytes
  std::int64_t since = 0;                         ///< when it was opened, or first failed; seconds since 1970
};

/// The profile's forwards: ports and sockets of this host that lead into the machine, and those of the machine that
/// lead here. The former are open from the machine's start to its end, also while it is suspended: whoever connects
/// wakes it. What cannot be opened, since another program has it, is tried again until it can.
class Forwards : public Service {
 public:
  explicit Forwards(Core& core);
  ~Forwards() override;

  std::string_view name() const noexcept override { return "forwards"; }
  asio::awaitable<void> open() override;
  /// The profile's list may have changed; those in the guest are given a moment.
  asio::awaitable<void> ready() override;
  asio::awaitable<void> close() override;
  void describe(State& state) const override;

  /// Something of this host leads into the machine: whoever connects wakes it.
  bool can_wake() const noexcept;
  /// Opens one more and puts it into the profile's list, as this machine has it. Throws why that is not possible, and
  /// then nothing of it is left: Error{busy} when somebody has its port, or another forward listens there. Of a machine
  /// that rests, what is in the guest waits for it.
  asio::awaitable<void> add(std::string item);
  /// Closes it and takes it out of that list; does nothing for one that is not there.
  asio::awaitable<void> remove(std::string item);

  std::vector<ForwardStatus> list() const;
  /// The sum over all of them.
  ForwardCounters counters() const;
  /// "the forward 8080:80" that has a port of this host; empty when none has.
  std::string owner(const HostPort& at) const;

 private:
  struct Entry;
  using Stream = std::unique_ptr<ByteStream>;

  std::shared_ptr<Entry> make(const std::string& item);
  void open_entry(Entry& entry);
  void open_port(Entry& entry);
  void open_socket(Entry& entry);
  void open_reverse(Entry& entry);
  void explain(Entry& entry, const HostPort& at, const error_code& failure);
  asio::awaitable<void> stop(std::shared_ptr<Entry> entry);
  asio::awaitable<void> settle(std::chrono::milliseconds limit);
  asio::awaitable<void> retry_failed();
  asio::awaitable<Stream> connect_guest(std::shared_ptr<const Forward> forward);
  asio::awaitable<std::shared_ptr<Guest>> guest_for(std::shared_ptr<const Forward> forward);
  void tell();

  Core& core_;
  std::vector<std::shared_ptr<Entry>> entries_;
  std::unique_ptr<UdpForward> udp_;
  std::unique_ptr<TaskGroup> tasks_;  ///< while there is something to try again
  Notifier failed_;
  bool set_up_ = false;  ///< the guest was, in this boot: what a place in it depends on (Docker's network) is there
  std::chrono::steady_clock::time_point last_use_{};  ///< of those that are gone
};

}  // namespace cl
