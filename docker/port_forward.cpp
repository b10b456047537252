#include "docker/port_forward.hpp"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <ctime>

#include "docker/port_entry.hpp"
#include "src/base/descriptor_limit.hpp"
#include "src/base/failure.hpp"
#include "src/base/log.hpp"
#include "src/base/net/socket_stream.hpp"
#include "src/forward/port_owner.hpp"

namespace cl {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using Tcp = asio::ip::tcp;

constexpr std::size_t ports_at_once = 64;  // opened before others have a turn, and tried again each time
constexpr std::size_t most_lines = 20;     // of one kind in the log, for one change
constexpr auto accept_pause = 200ms;       // when descriptors have run out
constexpr auto longest_reconnect = 2s;
constexpr std::size_t longest_id = 64;      // of a container, in hex digits
constexpr std::size_t most_ended = 10'000;  // containers whose end the list does not show yet: more than a machine runs
constexpr auto first_try_again = 10ms, longest_try_again = 100ms;  // of a container that does not listen yet

/// The engine lists a container as running for a moment after the event of its end. So events from that long before we
/// listen are wanted, too.
constexpr auto end_takes = 10s;

/// What changes published ports. Not exec and health checks, which an engine reports by the dozen.
constexpr const char* event_filters =
    R"({"type":["container","network","service","node"],)"
    R"("event":["start","die","rename","connect","disconnect","create","update","remove"]})";

/// This host has no address of that kind, so nobody can miss the port there.
bool means_no_ipv6(const HostPort& at, const error_code& ec) {
  if (!at.address.is_v6()) return false;
  if (ec == asio::error::address_family_not_supported) return true;
  return ec == boost::system::errc::address_not_available && (at.address.is_unspecified() || at.address.is_loopback());
}

}  // namespace

PortForward::PortForward(asio::any_io_executor executor, Config config)
    : executor_(executor),
      config_(std::move(config)),
      ask_(executor),
      reconciled_(executor),
      event_(executor),
      failed_(executor),
      udp_(executor, config_.carrier ? config_.carrier : config_.guest, config_.timings.udp),
      tasks_(executor) {
  if (!config_.carrier) config_.carrier = config_.guest;
  tasks_.spawn("published ports", watch());
  tasks_.spawn("published ports", reconcile());
  tasks_.spawn("published ports", look_again());
  tasks_.spawn("published ports", retry_failed());
  watch_listeners();
}

PortForward::~PortForward() = default;

asio::awaitable<void> PortForward::stop() {
  stopping_ = true;
  if (listeners_) co_await listeners_->stop();
  while (!entries_.empty()) remove(entries_.begin());
  co_await udp_.stop();
  co_await tasks_.stop();
}

/// Has reconcile() compare what is open with what should be.
void PortForward::compare() {
  ++asked_;
  ask_.notify_all();
}

void PortForward::watch_listeners() {
  if (config_.rules.forwarded != Forwarded::all) return;
  listeners_ = std::make_unique<ListenerWatch>(executor_, config_.guest, [this] { compare(); });
}

asio::awaitable<void> PortForward::set_rules(PortRules rules) {
  if (rules.forwarded != config_.rules.forwarded) {
    if (listeners_) co_await listeners_->stop();
    listeners_.reset();
    config_.rules = rules;
    watch_listeners();
  }
  config_.rules = rules;
  co_await reconciled();
}

// ---- what should be open ------------------------------------------------------------------------------------------

asio::awaitable<void> PortForward::watch() {
  std::chrono::milliseconds pause = config_.timings.reconnect;
  std::string said;  // the last problem, which is logged once while an engine is being installed
  for (;;) {
    const auto begun = Clock::now();
    std::string why = "the engine's events ended";
    try {
      auto guest = co_await config_.guest();
      co_await follow_events(*guest);
    } catch (const Error& error) {
      why = one_line(error);
    }
    if (engine_answers_ || why != said) log::info("published ports: {}; connecting again", why);
    said = std::move(why);
    engine_answers_ = false;
    if (Clock::now() - begun > longest_reconnect) pause = config_.timings.reconnect;
    co_await sleep_for(pause);
    pause = std::min<std::chrono::milliseconds>(pause * 2, longest_reconnect);
  }
}

asio::awaitable<void> PortForward::follow_events(Guest& guest) {
  using namespace std::chrono;
  auto stream = co_await guest.open_unix(config_.engine);
  // By the engine's clock as soon as an event has come; before, by ours, which the guest's is close to.
  if (last_event_ == 0ns) last_event_ = duration_cast<nanoseconds>(system_clock::now().time_since_epoch());
  auto events = co_await docker::EventStream::open(std::move(stream), event_filters, last_event_ - end_takes);
  engine_answers_ = true;
  // After the events are subscribed: what changes after the list is an event.
  dead_.clear();
  ended_.clear();
  swarm_ = true;
  compare();
  while (const auto event = co_await events->next()) {
    log::debug("event: {} {} {}", event->type, event->action, event->id.substr(0, 12));
    if (event->time > 0ns) last_event_ = event->time;
    if (event->type == "container" && (event->action == "create" || event->action == "update")) continue;
    if (event->type == "service" || event->type == "node") swarm_ = true;
    if (event->type == "container" && event->action == "die" && event->id.size() <= longest_id) {
      remove_container(event->id);
      ended_.insert(event->id);
      // An engine that never answers with its list could make us keep them without end.
      if (ended_.size() > most_ended || dead_.size() > most_ended)
        throw Error(Errc::protocol, "the engine tells of the end of more containers than there can be");
    }
    if (event->type == "container" && event->action == "start") {
      dead_.erase(event->id);
      ended_.erase(event->id);
    }
    compare();
    ++events_;
    event_.notify_all();
  }
}

/// An event may come before the list shows it: a network's `connect` 5 to 190 ms before (Docker 26). So the list is
/// looked at several times after an event.
asio::awaitable<void> PortForward::look_again() {
  for (std::uint64_t seen = 0;;) {
    while (seen == events_) co_await event_.wait();
    seen = events_;
    for (const auto pause : config_.timings.again) {
      co_await sleep_for(pause);
      compare();
      if (seen != events_) break;  // from the newest event on
    }
  }
}

asio::awaitable<void> PortForward::reconcile() {
  for (;;) {
    while (done_ == asked_) co_await ask_.wait();
    const std::uint64_t asked = asked_;
    bool failed = false;
    try {
      co_await list_and_apply();
    } catch (const Error& error) {
      log::info("published ports: no list of containers: {}", one_line(error));
      list_stream_.reset();
      failed = true;
    }
    if (failed) {
      co_await sleep_for(config_.timings.reconnect);
      continue;
    }
    done_ = asked;
    reconciled_.notify_all();
  }
}

asio::awaitable<void> PortForward::list_and_apply() {
  std::optional<Listed> listed;
  if (list_stream_) {
    try {
      listed = co_await list(*list_stream_);
    } catch (const Error& error) {
      log::debug("the connection for lists was closed: {}", one_line(error));
    }
  }
  if (!listed) {
    list_stream_.reset();
    auto guest = co_await config_.guest();
    list_stream_ = co_await guest->open_unix(config_.engine);
    listed = co_await list(*list_stream_);
  }
  co_await apply(std::move(listed->ports));
  co_await tell_containers(std::move(listed->containers));
}

asio::awaitable<PortForward::Listed> PortForward::list(ByteStream& engine) {
  boost::json::array containers = co_await docker::running_containers(engine);
  WantedPorts wanted = wanted_ports(containers, config_.rules);
  if (swarm_) {
    const auto services = co_await docker::services(engine);
    swarm_ = services.has_value();
    if (services) add_services(wanted, *services, config_.rules);
  }
  if (listeners_) add_listeners(wanted, listeners_->now(), containers, config_.rules);
  Listed listed{std::move(wanted), std::move(containers)};
  co_return listed;
}

/// After the ports are open: the engine may take its time to list volumes, and who follows events can wait.
asio::awaitable<void> PortForward::tell_containers(boost::json::array containers) {
  constexpr auto patience = std::chrono::seconds(3);
  if (config_.on_containers) {
    const auto stream = list_stream_;
    const auto failure = co_await failure_of(
        with_timeout(patience, "the engine's list of volumes", volumes_.resolve(*stream, containers)));
    if (failure) {
      log::warn("which folders volumes are is not known: {}", one_line(*failure));
      list_stream_.reset();
    }
  }
  std::set<std::string> still_listed;
  for (auto one = containers.begin(); one != containers.end();) {
    const boost::json::value* id = one->is_object() ? one->get_object().if_contains("Id") : nullptr;
    const bool ended = id != nullptr && id->is_string() && ended_.contains(std::string(id->get_string()));
    if (ended) still_listed.emplace(id->get_string());
    one = ended ? containers.erase(one) : std::next(one);
  }
  ended_ = std::move(still_listed);
  if (config_.on_containers) config_.on_containers(containers);
}

void PortForward::leave_out_the_dead(WantedPorts& wanted) {
  std::map<std::string, std::string> still_listed;
  for (auto one = wanted.begin(); one != wanted.end();) {
    const Container& container = *one->second.container;
    const auto dead = dead_.find(container.id);
    const bool leave_out = dead != dead_.end() && (dead->second.empty() || dead->second == container.run);
    if (leave_out) still_listed.insert(*dead);
    one = leave_out ? wanted.erase(one) : std::next(one);
  }
  dead_ = std::move(still_listed);
}

asio::awaitable<void> PortForward::apply(WantedPorts wanted) {
  leave_out_the_dead(wanted);
  // The other half of this process's descriptors is for connections, for clients of the engine and for commands.
  const std::size_t most_sockets = descriptor_limit() / 2;
  untold_ = keep_to_limit(wanted, config_.rules.limit, most_sockets, [this](const HostPort& at) {
    const auto entry = entries_.find(at);
    return entry != entries_.end() && entry->second->served();
  });
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    const auto next = std::next(entry);
    const auto found = wanted.find(entry->first);
    const PublishedPort& now = entry->second->port;
    // Each TCP connection looks up its target; the datagrams of an open port all go to the target of its flows.
    const bool elsewhere = now.at.protocol == Protocol::udp && found != wanted.end() &&
                           found->second.targets().front() != now.targets().front();
    if (found == wanted.end() || found->second.container->id != now.container->id ||
        found->second.private_port != now.private_port || found->second.refused != now.refused || elsewhere) {
      remove(entry);
    } else {
      entry->second->port.more = found->second.more;
      entry->second->refuse(config_.rules);
      if (found->second.container->run != now.container->run) {
        entry->second->opened = Clock::now();
        entry->second->answered = false;
      }
      entry->second->port.container = found->second.container;  // renamed, started again, or with other addresses
    }
    entry = next;
  }
  std::vector<std::shared_ptr<Entry>> failed, opened;
  std::size_t count = 0;
  for (auto& [at, published] : wanted) {
    if (stopping_) co_return;
    if (entries_.contains(at) || dead_.contains(published.container->id)) continue;  // it may have died meanwhile
    auto entry = std::make_shared<Entry>(std::move(published), executor_);
    entry->refuse(config_.rules);
    if (entry->refused.empty()) open(*entry);
    if (means_no_ipv6(at, entry->failure)) continue;
    entries_.emplace(at, entry);
    if (!entry->refused.empty()) ++refusals_;
    if (entry->failure) ++failures_;
    (entry->served() ? opened : failed).push_back(entry);
    if (entry->tcp.is_open()) accept(entry);
    if (++count % ports_at_once == 0) co_await asio::post(executor_, asio::use_awaitable);
  }
  explain(failed);
  tell_of_network(opened);
  tell();
  if (failures_ > 0) failed_.notify_all();
}

void PortForward::remove(Entries::iterator position) {
  const auto entry = position->second;
  entries_.erase(position);
  entry->removed = true;
  entry->asked.notify_all();
  error_code ignored;
  entry->tcp.close(ignored);
  entry->udp.reset();
  if (entry->failure) --failures_;
  if (!entry->refused.empty()) --refusals_;
}

/// Closes them at once, without asking the engine for its list.
void PortForward::remove_container(const std::string& id) {
  std::string& run = dead_[id];
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    const auto next = std::next(entry);
    if (const Container& container = *entry->second->port.container; container.id == id) {
      run = container.run;
      remove(entry);
    }
    entry = next;
  }
  tell();
}

asio::awaitable<void> PortForward::reconciled() {
  compare();
  const std::uint64_t mine = asked_;
  auto wait = [](PortForward& self, std::uint64_t number) -> asio::awaitable<void> {
    while (self.done_ < number) co_await self.reconciled_.wait();
  };
  try {
    co_await with_timeout(config_.timings.reconcile, "opening the published ports", wait(*this, mine));
  } catch (const Error& error) {
    log::warn("{}", one_line(error));
  }
}

// ---- opening ------------------------------------------------------------------------------------------------------

void PortForward::open(Entry& entry) {
  entry.failure = {};
  if (entry.port.at.protocol == Protocol::tcp) {
    entry.failure = listen_tcp(entry.tcp, entry.port.at);
  } else {
    const HostPort& at = entry.port.at;
    entry.udp = udp_.open(at.address, at.port, entry.port.targets().front(), entry.traffic, entry.failure);
  }
}

/// The next few of them each time, and from the first one on again after the last.
asio::awaitable<void> PortForward::retry_failed() {
  for (;;) {
    while (failures_ == 0) co_await failed_.wait();
    co_await sleep_for(config_.timings.retry);
    std::vector<std::shared_ptr<Entry>> turn;
    auto next = entries_.upper_bound(tried_);
    for (std::size_t looked = 0; looked < entries_.size() && turn.size() < ports_at_once; ++looked) {
      if (next == entries_.end()) next = entries_.begin();
      if (next->second->failure) turn.push_back(next->second);
      ++next;
    }
    std::vector<std::shared_ptr<Entry>> changed, opened;
    for (const auto& entry : turn) {
      tried_ = entry->port.at;
      const error_code before = entry->failure;
      open(*entry);
      if (entry->failure) {
        if (entry->failure != before) changed.push_back(entry);
        continue;
      }
      --failures_;
      entry->since = std::time(nullptr);
      log::info("published port {} of {} is free now and open", entry->port.at.str(), entry->port.container->name);
      opened.push_back(entry);
      if (entry->tcp.is_open()) accept(entry);
    }
    explain(changed);
    tell_of_network(opened);
    tell();
  }
}

/// Finds out who holds the ports, once for all, and says so in the log.
void PortForward::explain(const std::vector<std::shared_ptr<Entry>>& failed) {
  std::vector<HostPort> taken;
  for (const auto& entry : failed)
    if (entry->failure == asio::error::address_in_use) taken.push_back(entry->port.at);
  const auto owners = taken.empty() ? std::map<HostPort, std::string>{} : port_owners(taken);
  std::size_t lines = 0;
  for (const auto& entry : failed) {
    if (const auto owner = owners.find(entry->port.at); owner != owners.end()) entry->owner = owner->second;
    if (config_.own && entry->failure == asio::error::address_in_use)
      if (std::string own = config_.own(entry->port.at); !own.empty()) entry->owner = std::move(own);
    if (++lines <= most_lines)
      log::warn("published port {} of {}: {}; {}", entry->port.at.str(), entry->port.container->name, entry->problem(),
                entry->remedy());
  }
  if (lines > most_lines) log::warn("and {} published ports more", lines - most_lines);
}

/// What a guest opens to others than this host's own programs is not done in silence.
void PortForward::tell_of_network(const std::vector<std::shared_ptr<Entry>>& opened) const {
  std::size_t lines = 0;
  for (const auto& entry : opened) {
    if (entry->removed || entry->port.at.address.is_loopback()) continue;
    if (++lines <= most_lines)
      log::info("published port {} of {} is open for the network", entry->port.at.str(), entry->port.container->name);
  }
  if (lines > most_lines) log::info("and {} published ports more are open for the network", lines - most_lines);
}

void PortForward::tell() {
  std::vector<std::string> now = problems();
  if (now == told_) return;
  told_ = std::move(now);
  if (config_.on_change) config_.on_change();
}

// ---- connections --------------------------------------------------------------------------------------------------

void PortForward::accept(const std::shared_ptr<Entry>& entry) {
  entry->tcp.async_accept([this, entry](error_code ec, Tcp::socket socket) {
    if (!entry->tcp.is_open()) return;  // `this` may be gone, too
    if (ec && ec != asio::error::connection_aborted) {
      log::warn("cannot accept a connection on {}: {}; trying again", entry->port.at.str(), ec.message());
      auto later = [](PortForward& self, std::shared_ptr<Entry> paused) -> asio::awaitable<void> {
        co_await sleep_for(accept_pause);
        if (paused->tcp.is_open()) self.accept(paused);
      };
      return tasks_.spawn("published port", later(*this, entry));
    }
    if (!ec) tasks_.spawn("connection to a published port", serve(entry, std::move(socket)));
    accept(entry);
  });
}

asio::awaitable<void> PortForward::serve(std::shared_ptr<Entry> entry, Tcp::socket socket) {
  struct Counted {
    Entry& entry;
    Clock::time_point& ended;
    explicit Counted(Entry& of, Clock::time_point& at_end) : entry(of), ended(at_end) { ++entry.connections; }
    ~Counted() {
      --entry.connections;
      ended = Clock::now();
    }
  };
  const Counted counted(*entry, last_activity_);
  SocketStream client(std::move(socket));
  std::unique_ptr<ByteStream> target;
  try {
    target = co_await reach(entry);
  } catch (const Error& error) {
    log::info("a connection to {} was refused: {}", entry->port.at.str(), one_line(error));
  }
  if (!target) {
    client.close();  // a reset: the closest that an accepted connection can come to a refusal
    co_return;
  }
  const RelayCount count = co_await relay(client, *target, entry->traffic.get());
  if (!count.broken.empty()) log::debug("a connection to {} broke: {}", entry->port.at.str(), count.broken);
}

/// The engine answers a container's start before its program listens. A client that connects in between waits for it a
/// moment. Until the program accepts, one connection tries for all of them: each try opens a channel, and a session
/// opens one at a time.
asio::awaitable<std::unique_ptr<ByteStream>> PortForward::reach(std::shared_ptr<Entry> entry) {
  struct Asking {
    Entry* entry = nullptr;
    ~Asking() {
      if (entry == nullptr) return;
      entry->asking = false;
      entry->asked.notify_all();
    }
  };
  const auto now = Clock::now();
  const bool young = now - entry->opened < config_.timings.young;
  const auto until = young ? now + config_.timings.patience : now;
  std::chrono::milliseconds pause = first_try_again;
  Asking turn;
  for (;;) {
    while (!entry->answered && entry->asking && turn.entry == nullptr && !entry->removed) co_await entry->asked.wait();
    if (entry->removed) throw Error(Errc::guest_failed, "the container has stopped");
    if (!entry->answered) {
      entry->asking = true;
      turn.entry = entry.get();
    }
    Error failure(Errc::guest_failed, "the container has no address to connect to");
    auto guest = co_await config_.carrier();
    for (const auto& [host, port] : entry->port.targets()) {
      try {
        auto stream = co_await guest->open_tcp(host, port);
        entry->answered = true;
        co_return stream;
      } catch (const Error& error) {
        failure = error;
      }
    }
    if (Clock::now() >= until) throw failure;
    co_await sleep_for(pause);
    pause = std::min<std::chrono::milliseconds>(pause * 2, longest_try_again);
  }
}

}  // namespace cl
