#pragma once

#include <array>
#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "docker/api.hpp"
#include "docker/bound_volumes.hpp"
#include "docker/ports.hpp"
#include "provision/guest.hpp"
#include "src/base/net/relay.hpp"
#include "src/base/task_group.hpp"
#include "src/forward/listener_watch.hpp"
#include "src/forward/udp_forward.hpp"

namespace cl {

/// One published port, for a report.
struct PortStatus {
  HostPort at;
  std::string container, container_id;
  std::string problem;  ///< why this host does not serve it; empty when it does
  std::string remedy;
  std::size_t connections = 0;                         ///< open now (TCP)
  std::uint64_t to_container = 0, from_container = 0;  ///< bytes
  std::int64_t since = 0;                              ///< when it was opened, or first failed; seconds since 1970

  /// Whether other computers reach it, as far as nothing between them and this host keeps them from it.
  bool for_network() const { return !at.address.is_loopback(); }
};

/// The sum over all ports, which shows whether the machine is in use.
struct PortCounters {
  std::size_t connections = 0;                            ///< open now (TCP)
  std::chrono::steady_clock::time_point last_activity{};  ///< of the last byte or datagram
};

/// Opens on this host the ports that containers in a guest publish, on exactly the addresses asked for; with
/// Forwarded::all those of programs in the guest, too. After each of the engine's events, and after each gap in them,
/// open ports are compared with the engine's list. Nothing is polled, except ports that another program of this host
/// has: these are tried again until they are free, so many at a time that it costs the same however many there are.
/// Owner's rule: await stop() before destruction.
///
/// It is large because containers, programs in the guest and other programs of this host compete for the same ports,
/// and one list of open ports decides.
class PortForward {
 public:
  struct Timings {
    std::chrono::milliseconds retry{std::chrono::seconds(1)};      ///< of ports that could not be opened
    std::chrono::milliseconds reconnect{100};                      ///< after the engine or guest was lost; grows to 2 s
    std::chrono::milliseconds young{std::chrono::seconds(10)};     ///< a new container may take so long to listen ...
    std::chrono::milliseconds patience{std::chrono::seconds(3)};   ///< ... and a connection to it waits for that
    std::chrono::milliseconds reconcile{std::chrono::seconds(5)};  ///< limit of reconciled()
    /// Pauses after an event, each before one more look at the engine's list.
    std::array<std::chrono::milliseconds, 2> again{std::chrono::milliseconds(200), std::chrono::milliseconds(800)};
    UdpForward::Timings udp;
  };
  struct Config {
    UdpForward::ReachGuest guest;    ///< the guest, once it is reached, for events and lists
    UdpForward::ReachGuest carrier;  ///< the same for the ports' data: another session, so that a flood of it delays
                                     ///< nothing else; empty = `guest`
    std::string engine;              ///< the engine's socket in the guest
    PortRules rules;
    std::function<void()> on_change;  ///< called when a port fails, or no longer does
    std::function<void(const boost::json::array&)> on_containers =
        {};  ///< called with the running ones after each event; volumes that are folders of the guest are in them as
             ///< bind mounts
    std::function<std::string(const HostPort&)> own = {};  ///< what else of this process has a port; empty: nothing
    Timings timings = {};
  };

  PortForward(asio::any_io_executor executor, Config config);
  PortForward(const PortForward&) = delete;
  PortForward& operator=(const PortForward&) = delete;
  ~PortForward();

  /// Uses these rules from now on; returns as reconciled() does. Ports that both rules want stay open, with their
  /// connections.
  asio::awaitable<void> set_rules(PortRules rules);

  /// Returns when the ports of all containers that run now are open, or have failed. Returns, too, when the engine does
  /// not answer in time.
  asio::awaitable<void> reconciled();

  /// Whether the engine's event stream is open, which shows that the engine works.
  bool engine_answers() const noexcept { return engine_answers_; }

  std::vector<PortStatus> ports() const;
  PortCounters counters() const;
  /// Which port of this container another program of this host has, or the rules refuse, in the words in which an
  /// engine refuses its start; empty when none. `container` is an id, the beginning of one, or a name.
  std::string taken(std::string_view container) const;
  /// One line for each port that is not served, "127.0.0.1:80/tcp of web: ...", and for those that are refused one for
  /// each container and reason.
  std::vector<std::string> problems() const;

  /// Closes every port and connection. May be called again.
  asio::awaitable<void> stop();

 private:
  struct Entry;
  using Entries = std::map<HostPort, std::shared_ptr<Entry>>;

  asio::awaitable<void> watch();
  asio::awaitable<void> follow_events(Guest& guest);
  asio::awaitable<void> look_again();
  asio::awaitable<void> reconcile();
  asio::awaitable<void> list_and_apply();
  struct Listed {
    WantedPorts ports;
    boost::json::array containers;
  };
  asio::awaitable<Listed> list(ByteStream& engine);
  asio::awaitable<void> apply(WantedPorts wanted);
  asio::awaitable<void> retry_failed();
  void watch_listeners();
  void compare();

  void open(Entry& entry);
  void accept(const std::shared_ptr<Entry>& entry);
  void remove(Entries::iterator position);
  void remove_container(const std::string& id);
  void leave_out_the_dead(WantedPorts& wanted);
  asio::awaitable<void> tell_containers(boost::json::array containers);
  void explain(const std::vector<std::shared_ptr<Entry>>& failed);
  void tell_of_network(const std::vector<std::shared_ptr<Entry>>& opened) const;
  void tell();
  asio::awaitable<void> serve(std::shared_ptr<Entry> entry, asio::ip::tcp::socket socket);
  asio::awaitable<std::unique_ptr<ByteStream>> reach(std::shared_ptr<Entry> entry);

  asio::any_io_executor executor_;
  Config config_;
  Entries entries_;
  std::unique_ptr<ListenerWatch> listeners_;  // with Forwarded::all
  std::vector<std::string> told_;             // the problems at the last on_change
  std::shared_ptr<ByteStream> list_stream_;
  BoundVolumes volumes_;
  std::uint64_t asked_ = 0, done_ = 0;  // comparisons
  Notifier ask_, reconciled_;
  std::uint64_t events_ = 0;  // of the engine's, so far
  Notifier event_;
  Notifier failed_;
  std::size_t failures_ = 0;                               ///< are tried again
  std::size_t refusals_ = 0;                               ///< are not
  std::size_t untold_ = 0;                                 ///< refused, and in no list
  HostPort tried_;                                         ///< the last one that was tried again
  std::chrono::steady_clock::time_point last_activity_{};  ///< of connections that have ended
  /// Containers that have ended, by id, with the run that ended (empty when we never saw it). The engine lists a
  /// container as running for a moment after the event of its end, and no later event says when that stops.
  std::map<std::string, std::string> dead_;
  std::set<std::string> ended_;            ///< likewise for on_containers, with or without ports
  std::chrono::nanoseconds last_event_{};  ///< its time; zero before the first connection
  bool swarm_ = true;                      ///< the engine may manage a swarm, whose services publish ports
  bool stopping_ = false;
  bool engine_answers_ = false;
  UdpForward udp_;
  TaskGroup tasks_;
};

}  // namespace cl
