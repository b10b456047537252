#include "src/daemon/services/forwards.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <utility>

#include "src/base/failure.hpp"
#include "src/base/log.hpp"
#include "src/base/net/socket_stream.hpp"
#include "src/base/path.hpp"
#include "src/base/platform.hpp"
#include "src/daemon/core.hpp"
#include "src/forward/port_owner.hpp"
#include "src/forward/reverse_forward.hpp"
#include "src/forward/tcp_forward.hpp"

namespace cl {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t most_connections = 512;                     // of one forward at a time
constexpr auto again = std::chrono::seconds(1);                   // for what could not be opened
constexpr auto guest_patience = std::chrono::seconds(10);         // for one that is opened in the guest
constexpr auto start_patience = std::chrono::seconds(3);          // likewise, all of them, at a start
constexpr auto look_patience = std::chrono::milliseconds(2'000);  // whether somebody listens on a socket of the guest

/// The address was checked when the profile was read.
HostPort host_port(const Forward& forward) {
  return {forward.udp ? Protocol::udp : Protocol::tcp, asio::ip::make_address(forward.from.address), forward.from.port};
}

/// As Guest::listen() takes it.
std::string place_in_guest(const ForwardEnd& end) {
  return end.is_socket() ? "unix " + end.path : "tcp " + end.address + " " + std::to_string(end.port);
}

asio::awaitable<std::unique_ptr<ByteStream>> connect_host(std::shared_ptr<const Forward> forward) {
  const ForwardEnd& to = forward->to;
  if (to.is_socket()) co_return co_await connect_unix(expand_home(to.path));
  std::string address = to.address;
  co_return co_await connect_tcp(std::move(address), to.port);
}

}  // namespace

struct Forwards::Entry {
  std::string item;
  std::shared_ptr<const Forward> forward;
  std::unique_ptr<SocketForward> socket;
  std::unique_ptr<TcpForward> tcp;
  std::shared_ptr<UdpForward::Port> udp;
  std::unique_ptr<ReverseForward> reverse;
  std::shared_ptr<Traffic> datagrams = std::make_shared<Traffic>();
  Errc code = Errc::io;  // of the problem
  std::string problem, remedy;
  std::int64_t since = std::time(nullptr);

  bool is_open() const { return socket || tcp || udp || (reverse && reverse->is_open()); }
  bool has_failed() const {
    return !problem.empty() || (reverse && !reverse->is_open() && !reverse->problem().empty());
  }
  ForwardCounters counters() const {
    if (socket) return socket->counters();
    if (tcp) return tcp->counters();
    if (reverse) return reverse->counters();
    ForwardCounters all;
    all.from_clients = datagrams->a_to_b;
    all.to_clients = datagrams->b_to_a;
    all.last_activity = datagrams->last;
    return all;
  }
  /// The time when a port was opened is not that of a use.
  Clock::time_point last_use() const {
    const ForwardCounters all = counters();
    return all.accepted > 0 || udp ? all.last_activity : Clock::time_point{};
  }
  ForwardState state() const {
    if (is_open()) return {item, "open", "", ""};
    if (reverse && !reverse->problem().empty())
      return {item, "failed", reverse->problem(), "it is tried again each second while the machine runs"};
    if (reverse) return {item, "waiting", "", ""};
    return {item, "failed", problem, remedy};
  }
};

Forwards::Forwards(Core& core) : core_(core), failed_(core.executor) {}
Forwards::~Forwards() = default;

asio::awaitable<void> Forwards::open() {
  const std::vector<std::string> wanted = core_.state().profile.forwards;
  const auto is_wanted = [&wanted](const std::shared_ptr<Entry>& entry) {
    return std::find(wanted.begin(), wanted.end(), entry->item) != wanted.end();
  };
  std::vector<std::shared_ptr<Entry>> gone;
  for (const auto& entry : entries_)
    if (!is_wanted(entry)) gone.push_back(entry);
  for (const auto& entry : gone) co_await stop(entry);
  for (const std::string& item : wanted) {
    const bool known =
        std::any_of(entries_.begin(), entries_.end(), [&](const auto& one) { return one->item == item; });
    if (!known) entries_.push_back(make(item));
  }
  if (!tasks_ && !entries_.empty()) {
    tasks_ = std::make_unique<TaskGroup>(core_.executor);
    core_.spawn_permanent(*tasks_, "forwards that could not be opened", retry_failed());
  }
  failed_.notify_all();
  tell();
}

asio::awaitable<void> Forwards::ready() {
  set_up_ = true;
  core_.notify();
  co_await open();
  co_await settle(start_patience);
  for (const auto& entry : entries_)
    if (const ForwardState state = entry->state(); state.state == "failed")
      core_.notes.push_back(fmt::format("the forward {} is not open: {}", state.forward, state.problem));
}

/// Until all of those in the guest are open or have failed.
asio::awaitable<void> Forwards::settle(std::chrono::milliseconds limit) {
  auto all = [](std::vector<std::shared_ptr<Entry>> entries) -> asio::awaitable<void> {
    for (const auto& entry : entries)
      if (entry->reverse) co_await entry->reverse->settled();
  };
  const auto late = co_await failure_of(with_timeout(limit, "opening the forwards in the guest", all(entries_)));
  if (late) log::warn("{}", one_line(*late));
}

asio::awaitable<void> Forwards::close() {
  set_up_ = false;
  const auto tasks = std::exchange(tasks_, nullptr);
  if (tasks) co_await tasks->stop();
  while (!entries_.empty()) co_await stop(entries_.back());
  const auto udp = std::exchange(udp_, nullptr);
  if (udp) co_await udp->stop();
}

void Forwards::describe(State& state) const {
  state.forwards.clear();
  for (const auto& entry : entries_) state.forwards.push_back(entry->state());
}

bool Forwards::can_wake() const noexcept {
  return std::any_of(entries_.begin(), entries_.end(),
                     [](const auto& one) { return one->socket || one->tcp || one->udp; });
}

void Forwards::tell() { core_.describe(*this); }

// ---- opening ------------------------------------------------------------------------------------------------------

std::shared_ptr<Forwards::Entry> Forwards::make(const std::string& item) {
  auto entry = std::make_shared<Entry>();
  Forward forward;
  if (const auto wrong = parse_forward(item, forward)) throw Error(Errc::usage, "a forward " + *wrong);
  entry->item = item;
  entry->forward = std::make_shared<const Forward>(std::move(forward));
  open_entry(*entry);
  if (!entry->problem.empty()) log::warn("the forward {}: {}; {}", item, entry->problem, entry->remedy);
  if (entry->is_open()) log::info("the forward {} is open", item);
  return entry;
}

void Forwards::open_entry(Entry& entry) {
  entry.problem.clear();
  entry.remedy.clear();
  if (entry.forward->reverse) return open_reverse(entry);
  if (entry.forward->from.is_socket()) return open_socket(entry);
  open_port(entry);
}

void Forwards::open_port(Entry& entry) {
  const HostPort at = host_port(*entry.forward);
  error_code failure;
  if (entry.forward->udp) {
    if (!udp_) {
      auto guest = [this] { return core_.data_path.carrier(); };
      udp_ = std::make_unique<UdpForward>(core_.executor, std::move(guest), UdpForward::Timings{});
    }
    entry.udp =
        udp_->open(at.address, at.port, {entry.forward->to.address, entry.forward->to.port}, entry.datagrams, failure);
  } else {
    auto open = [this, forward = entry.forward] { return connect_guest(forward); };
    auto tcp = std::make_unique<TcpForward>(core_.executor, at, std::move(open), most_connections, failure);
    if (!failure) entry.tcp = std::move(tcp);
  }
  if (failure) explain(entry, at, failure);
}

void Forwards::explain(Entry& entry, const HostPort& at, const error_code& failure) {
  const std::string limit = std::to_string(first_free_port());
  entry.code = Errc::host_requirement;
  entry.problem = failure.message();
  entry.remedy = "it is tried again each second";
  if (failure == asio::error::address_in_use) {
    std::string owner = this->owner(at);
    if (owner.empty())
      for (const PortStatus& port : core_.ports.list().value_or(std::vector<PortStatus>{}))
        if (port.problem.empty() && in_each_others_way(port.at, at))
          owner = "the container " + port.container + ", which publishes it";
    if (owner.empty()) {
      const auto owners = port_owners({at});
      if (const auto found = owners.find(at); found != owners.end()) owner = found->second;
    }
    entry.code = Errc::busy;
    entry.problem = owner.empty() ? at.str() + " is taken on this host" : at.str() + " is taken by " + owner;
    entry.remedy = "end what holds it, or forward another port";
  } else if (failure == asio::error::access_denied) {
    entry.problem = "this user may not open ports below " + limit;
    entry.remedy = fmt::format(
        "forward a port from {} on, or allow it: sudo sysctl net.ipv4.ip_unprivileged_port_start={}", limit, at.port);
  } else if (failure == boost::system::errc::address_not_available) {
    entry.problem = "this host has no address " + at.address.to_string();
    entry.remedy = "forward a port of an address of this host; 'ip address' shows them";
  }
}

void Forwards::open_socket(Entry& entry) {
  const std::filesystem::path path = expand_home(entry.forward->from.path);
  if (path.native().size() > platform::max_socket_path()) {
    entry.code = Errc::invalid_config;
    entry.problem = fmt::format("{} is longer than the {} bytes that a unix socket's path may have", path.string(),
                                platform::max_socket_path());
    entry.remedy = "put the socket into a folder with a shorter path";
    return;
  }
  auto open = [this, forward = entry.forward] { return connect_guest(forward); };
  try {
    const SocketForward::Limits limits{false, most_connections};
    entry.socket = std::make_unique<SocketForward>(core_.executor, path, std::move(open), limits);
  } catch (const Error& error) {
    entry.code = error.code();
    entry.problem = one_line(error);
    entry.remedy = error.remedy();
  }
}

void Forwards::open_reverse(Entry& entry) {
  ReverseForward::Config config;
  config.where = place_in_guest(entry.forward->from);
  config.guest = [this, forward = entry.forward] { return guest_for(forward); };
  config.answer = [forward = entry.forward](const GuestListener::Arrival&) { return connect_host(forward); };
  config.most = most_connections;
  config.on_state = [this] { tell(); };
  entry.reverse = std::make_unique<ReverseForward>(core_.executor, std::move(config));
}

/// While the machine rests nobody asks for its guest: a socket in it has no clients then, and must not wake it.
asio::awaitable<std::shared_ptr<Guest>> Forwards::guest_for(std::shared_ptr<const Forward> forward) {
  const auto is_up = [this] {
    return is<phase::Running, phase::Degraded>(core_.phase()) || (set_up_ && is<phase::Booting>(core_.phase()));
  };
  while (!is_up()) co_await core_.changed();
  auto guest = co_await core_.guest.reach_for_client();
  if (!forward->from.is_socket()) co_return guest;
  // The agent takes the place of a socket that is there. One on which a program listens is not ours to take.
  const std::string path = forward->from.path;
  auto look = [](std::shared_ptr<Guest> in, std::string at) -> asio::awaitable<void> {
    co_await in->open_unix(std::move(at));
  };
  const auto nobody = co_await failure_of(with_timeout(look_patience, "an answer there", look(guest, path)));
  if (!nobody || nobody->code() == Errc::timed_out)
    throw Error(Errc::busy, "a program in the machine listens on " + path + " already");
  co_return guest;
}

asio::awaitable<Forwards::Stream> Forwards::connect_guest(std::shared_ptr<const Forward> forward) {
  const auto guest = co_await core_.data_path.carrier();
  std::string to = forward->to.is_socket() ? forward->to.path : forward->to.address;
  if (forward->to.is_socket()) co_return co_await guest->open_unix(std::move(to));
  co_return co_await guest->open_tcp(std::move(to), forward->to.port);
}

asio::awaitable<void> Forwards::retry_failed() {
  for (;;) {
    const auto failed = [](const std::shared_ptr<Entry>& entry) { return !entry->problem.empty(); };
    while (std::none_of(entries_.begin(), entries_.end(), failed)) co_await failed_.wait();
    co_await sleep_for(again);
    bool changed = false;
    for (const auto& entry : entries_) {
      if (entry->problem.empty()) continue;
      const std::string before = entry->problem;
      open_entry(*entry);
      if (entry->problem == before) continue;
      changed = true;
      entry->since = std::time(nullptr);
      if (entry->problem.empty())
        log::info("the forward {} is open now", entry->item);
      else
        log::warn("the forward {}: {}", entry->item, entry->problem);
    }
    if (changed) tell();
  }
}

// ---- one more, one less ---------------------------------------------------------------------------------------------

asio::awaitable<void> Forwards::add(std::string item) {
  Forward wanted;
  if (const auto wrong = parse_forward(item, wanted)) throw Error(Errc::usage, "a forward " + *wrong);
  for (const auto& entry : entries_) {
    if (!entry->forward->same_place(wanted)) continue;
    if (!(*entry->forward == wanted))
      throw Error(Errc::busy, "the forward " + entry->item + " listens there already",
                  "colima-like forward remove " + entry->item);
    if (!entry->has_failed()) co_return;
    item = entry->item;
    co_await stop(entry);  // it is tried anew, so that who asks is told why
    break;
  }
  if (entries_.size() >= most_forwards)
    throw Error(Errc::busy, fmt::format("{} forwards are open, and that is as many as may be", most_forwards),
                "colima-like forward remove FORWARD");
  const auto entry = make(item);
  entries_.push_back(entry);
  std::exception_ptr interrupted;
  const bool runs = is<phase::Running, phase::Degraded>(core_.phase());
  if (entry->reverse && runs) {
    try {
      co_await with_timeout(guest_patience, "opening it in the machine", entry->reverse->settled());
    } catch (...) {
      interrupted = std::current_exception();
    }
  }
  const ForwardState state = entry->state();
  if (!interrupted && state.state != "failed") {
    std::vector<std::string>& kept = core_.store.edit().profile.forwards;
    if (std::find(kept.begin(), kept.end(), item) == kept.end()) kept.push_back(item);
    co_return co_await open();
  }
  co_await asio::this_coro::throw_if_cancelled(false);
  co_await uninterrupted(stop(entry));
  co_await asio::this_coro::throw_if_cancelled(true);
  tell();  // that it is gone: it may have told of its failure meanwhile
  if (interrupted) std::rethrow_exception(interrupted);
  const Error failure(
      wanted.reverse ? Errc::guest_failed : entry->code, "the forward " + item + " cannot be opened",
      wanted.reverse ? "'colima-like ssh -- ss -lntx' shows who listens in the machine" : entry->remedy);
  throw failure.because(state.problem);
}

asio::awaitable<void> Forwards::remove(std::string item) {
  std::erase(core_.store.edit().profile.forwards, item);
  const auto entries = entries_;
  for (const auto& entry : entries)
    if (entry->item == item) co_await stop(entry);
  tell();
}

/// It is none of ours from here on; its connections end.
asio::awaitable<void> Forwards::stop(std::shared_ptr<Entry> entry) {
  std::erase(entries_, entry);
  last_use_ = std::max(last_use_, entry->last_use());
  if (entry->is_open()) log::info("the forward {} is closed", entry->item);
  entry->udp.reset();
  if (entry->socket) co_await entry->socket->stop();
  if (entry->tcp) co_await entry->tcp->stop();
  if (entry->reverse) co_await entry->reverse->stop();
}

// ---- reports --------------------------------------------------------------------------------------------------------

std::vector<ForwardStatus> Forwards::list() const {
  std::vector<ForwardStatus> all;
  for (const auto& entry : entries_) {
    const ForwardCounters counters = entry->counters();
    const bool reverse = entry->forward->reverse;
    ForwardStatus status{entry->state()};
    status.connections = counters.connections;
    status.into_machine = reverse ? counters.to_clients : counters.from_clients;
    status.out_of_it = reverse ? counters.from_clients : counters.to_clients;
    status.since = entry->since;
    all.push_back(std::move(status));
  }
  return all;
}

ForwardCounters Forwards::counters() const {
  ForwardCounters all;
  all.last_activity = last_use_;
  for (const auto& entry : entries_) {
    all.connections += entry->counters().connections;
    all.last_activity = std::max(all.last_activity, entry->last_use());
  }
  return all;
}

std::string Forwards::owner(const HostPort& at) const {
  for (const auto& entry : entries_)
    if ((entry->tcp || entry->udp) && in_each_others_way(host_port(*entry->forward), at))
      return "the forward " + entry->item + " ('colima-like forward remove' closes it)";
  return {};
}

}  // namespace cl
