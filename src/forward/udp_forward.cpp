#include "src/forward/udp_forward.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/ip/udp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <cerrno>
#include <cstring>
#include <deque>

#include "src/base/log.hpp"

namespace cl {

namespace {

using Clock = std::chrono::steady_clock;
using Udp = asio::ip::udp;

constexpr std::size_t most_flows = 8192;           // half of the streams that an agent has
constexpr std::size_t most_waiting = 1024 * 1024;  // bytes for a guest that is not there yet, dropped beyond
constexpr std::size_t largest_datagram = 65535;
constexpr int at_once = 64;  // datagrams of one port before others have a turn

struct Peer {
  sockaddr_storage address{};
  socklen_t size = 0;
  bool operator<(const Peer& other) const {
    if (size != other.size) return size < other.size;
    return std::memcmp(&address, &other.address, size) < 0;
  }
};

/// The address of ours that a datagram was sent to. The answer has to come from it: a port on every address could
/// otherwise answer from one that the peer does not know.
struct Arrival {
  int family = AF_UNSPEC;
  in_addr v4{};
  in6_pktinfo v6{};
};

union Control {
  cmsghdr align;
  std::array<char, CMSG_SPACE(sizeof(in6_pktinfo)) + CMSG_SPACE(sizeof(in_pktinfo))> bytes;
};

ssize_t receive(int fd, std::span<char> space, Peer& peer, Arrival& arrival) {
  iovec part{space.data(), space.size()};
  Control control{};
  msghdr message{};
  message.msg_name = &peer.address;
  message.msg_namelen = sizeof peer.address;
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes.data();
  message.msg_controllen = control.bytes.size();
  const ssize_t got = ::recvmsg(fd, &message, MSG_DONTWAIT);
  if (got < 0) return got;
  peer.size = message.msg_namelen;
  for (cmsghdr* one = CMSG_FIRSTHDR(&message); one != nullptr; one = CMSG_NXTHDR(&message, one)) {
    if (one->cmsg_level == IPPROTO_IP && one->cmsg_type == IP_PKTINFO) {
      in_pktinfo info;
      std::memcpy(&info, CMSG_DATA(one), sizeof info);
      arrival.family = AF_INET;
      arrival.v4 = info.ipi_addr;
    } else if (one->cmsg_level == IPPROTO_IPV6 && one->cmsg_type == IPV6_PKTINFO) {
      std::memcpy(&arrival.v6, CMSG_DATA(one), sizeof arrival.v6);
      arrival.family = AF_INET6;
    }
  }
  return got;
}

void answer(int fd, std::string_view datagram, const Peer& peer, const Arrival& arrival) {
  iovec part{const_cast<char*>(datagram.data()), datagram.size()};
  Control control{};
  msghdr message{};
  message.msg_name = const_cast<sockaddr_storage*>(&peer.address);
  message.msg_namelen = peer.size;
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (arrival.family != AF_UNSPEC) {
    const bool v6 = arrival.family == AF_INET6;
    in_pktinfo info{};
    info.ipi_spec_dst = arrival.v4;
    message.msg_control = control.bytes.data();
    message.msg_controllen = v6 ? CMSG_SPACE(sizeof arrival.v6) : CMSG_SPACE(sizeof info);
    cmsghdr* head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = v6 ? IPPROTO_IPV6 : IPPROTO_IP;
    head->cmsg_type = v6 ? IPV6_PKTINFO : IP_PKTINFO;
    head->cmsg_len = v6 ? CMSG_LEN(sizeof arrival.v6) : CMSG_LEN(sizeof info);
    if (v6) {
      std::memcpy(CMSG_DATA(head), &arrival.v6, sizeof arrival.v6);
    } else {
      std::memcpy(CMSG_DATA(head), &info, sizeof info);
    }
  }
  ::sendmsg(fd, &message, MSG_DONTWAIT);  // a full buffer or an unreachable peer loses a datagram, as on any network
}

}  // namespace

class UdpForward::Port {
 public:
  Port(const asio::any_io_executor& executor, std::weak_ptr<State> state, Target target,
       std::shared_ptr<Traffic> traffic)
      : socket_(executor), state_(std::move(state)), target_(std::move(target)), traffic_(std::move(traffic)) {}
  Port(const Port&) = delete;
  Port& operator=(const Port&) = delete;
  ~Port() { close(); }

  error_code bind(const asio::ip::address& address, std::uint16_t port);
  /// Waits for datagrams until closed. Keeps the port only weakly.
  static void receive(const std::shared_ptr<Port>& port);
  void close() noexcept;

  int fd() { return socket_.native_handle(); }
  const Target& target() const noexcept { return target_; }
  Traffic& traffic() const noexcept { return *traffic_; }
  std::map<Peer, std::uint32_t> flows;

 private:
  void take_all();

  Udp::socket socket_;
  std::weak_ptr<State> state_;
  Target target_;
  std::shared_ptr<Traffic> traffic_;
};

struct UdpForward::State {
  struct Flow {
    Port* port = nullptr;  // erases its flows before it is destroyed
    Peer peer;
    Arrival arrival;
    Clock::time_point last;
    std::unique_ptr<DatagramFlow> way;  // none until the guest is reached
    std::vector<std::string> waiting;   // for that
    bool wanted = false;                // is in to_open
  };

  State(const asio::any_io_executor& executor, ReachGuest reach, Timings times)
      : guest(std::move(reach)), timings(times), work(executor), expiry(executor) {}

  void from_peer(Port& port, const Peer& peer, const Arrival& arrival, std::string_view datagram);
  void from_guest(std::uint32_t id, std::string_view datagram);
  void forget(std::map<std::uint32_t, Flow>::iterator flow);
  void drop_waiting(Flow& flow);
  void schedule_expiry();
  asio::awaitable<void> serve();
  asio::awaitable<void> open_ways();

  ReachGuest guest;
  Timings timings;
  Notifier work;
  std::map<std::uint32_t, Flow> flows;
  std::deque<std::uint32_t> to_open;  // in the order of their first datagrams; some may be gone
  std::uint32_t last_flow = 0;
  std::size_t waiting = 0;  // bytes, of all flows
  bool expiry_set = false;
  asio::steady_timer expiry;
  std::weak_ptr<State> self;
};

// ---- a port -----------------------------------------------------------------------------------------------------

error_code UdpForward::Port::bind(const asio::ip::address& address, std::uint16_t port) {
  const Udp::endpoint endpoint(address, port);
  error_code ec;
  socket_.open(endpoint.protocol(), ec);
  if (ec) return ec;
  ::fcntl(socket_.native_handle(), F_SETFD, FD_CLOEXEC);
  socket_.non_blocking(true, ec);
  const int on = 1;
  if (address.is_v6()) {
    socket_.set_option(asio::ip::v6_only(true), ec);
    ::setsockopt(socket_.native_handle(), IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on);
  } else {
    ::setsockopt(socket_.native_handle(), IPPROTO_IP, IP_PKTINFO, &on, sizeof on);
  }
  socket_.bind(endpoint, ec);
  return ec;
}

void UdpForward::Port::receive(const std::shared_ptr<Port>& port) {
  port->socket_.async_wait(Udp::socket::wait_read, [weak = std::weak_ptr(port)](error_code ec) {
    const auto self = weak.lock();
    if (ec || !self || !self->socket_.is_open()) return;
    self->take_all();
    receive(self);
  });
}

void UdpForward::Port::take_all() {
  const auto state = state_.lock();
  if (!state) return;
  std::array<char, largest_datagram> space;
  for (int i = 0; i < at_once; ++i) {
    Peer peer;
    Arrival arrival;
    const ssize_t got = cl::receive(fd(), space, peer, arrival);
    if (got < 0) {
      const int failure = errno;
      if (failure == EAGAIN || failure == EWOULDBLOCK) return;
      continue;  // an ICMP error of an earlier answer
    }
    state->from_peer(*this, peer, arrival, {space.data(), static_cast<std::size_t>(got)});
  }
}

void UdpForward::Port::close() noexcept {
  error_code ignored;
  socket_.close(ignored);
  const auto state = state_.lock();
  if (!state) return;
  for (const auto& [peer, id] : std::exchange(flows, {})) {
    const auto flow = state->flows.find(id);
    state->drop_waiting(flow->second);
    state->flows.erase(flow);
  }
}

// ---- flows ------------------------------------------------------------------------------------------------------

void UdpForward::State::drop_waiting(Flow& flow) {
  for (const std::string& datagram : std::exchange(flow.waiting, {})) waiting -= datagram.size();
}

void UdpForward::State::forget(std::map<std::uint32_t, Flow>::iterator flow) {
  drop_waiting(flow->second);
  flow->second.port->flows.erase(flow->second.peer);
  flows.erase(flow);
}

void UdpForward::State::from_peer(Port& port, const Peer& peer, const Arrival& arrival, std::string_view datagram) {
  const auto known = port.flows.find(peer);
  std::uint32_t id = 0;
  if (known != port.flows.end()) {
    id = known->second;
  } else {
    if (flows.size() >= most_flows) {
      auto oldest = flows.begin();
      for (auto one = flows.begin(); one != flows.end(); ++one)
        if (one->second.last < oldest->second.last) oldest = one;
      forget(oldest);
    }
    id = ++last_flow;
    port.flows.emplace(peer, id);
    flows[id].port = &port;
    flows[id].peer = peer;
  }
  Flow& flow = flows.at(id);
  flow.arrival = arrival;
  flow.last = Clock::now();
  port.traffic().a_to_b += datagram.size();
  port.traffic().last = flow.last;
  schedule_expiry();
  if (flow.waiting.empty() && flow.way && flow.way->usable()) {
    flow.way->send(datagram);
    return;
  }
  if (waiting + datagram.size() > most_waiting) return;
  waiting += datagram.size();
  flow.waiting.emplace_back(datagram);
  if (!std::exchange(flow.wanted, true)) to_open.push_back(id);
  work.notify_all();
}

void UdpForward::State::from_guest(std::uint32_t id, std::string_view datagram) {
  const auto found = flows.find(id);
  if (found == flows.end()) return;
  Flow& flow = found->second;
  flow.last = Clock::now();
  flow.port->traffic().b_to_a += datagram.size();
  flow.port->traffic().last = flow.last;
  answer(flow.port->fd(), datagram, flow.peer, flow.arrival);
}

/// One timer while there are flows, none without.
void UdpForward::State::schedule_expiry() {
  if (expiry_set || flows.empty()) return;
  expiry_set = true;
  expiry.expires_after(timings.idle / 2);
  expiry.async_wait([weak = self](error_code ec) {
    const auto state = weak.lock();
    if (ec || !state) return;
    state->expiry_set = false;
    const auto now = Clock::now();
    for (auto flow = state->flows.begin(); flow != state->flows.end();) {
      const auto next = std::next(flow);
      if (now - flow->second.last >= state->timings.idle) state->forget(flow);
      flow = next;
    }
    state->schedule_expiry();
  });
}

// ---- the guest --------------------------------------------------------------------------------------------------

asio::awaitable<void> UdpForward::State::serve() {
  for (;;) {
    while (to_open.empty()) co_await work.wait();
    try {
      co_await open_ways();
      continue;
    } catch (const Error& error) {
      log::warn("published UDP ports: {}", one_line(error));
    }
    for (const std::uint32_t id : std::exchange(to_open, {}))
      if (const auto flow = flows.find(id); flow != flows.end()) forget(flow);
    co_await sleep_for(timings.again);
  }
}

/// For all flows that want one. Reaching the guest wakes one that sleeps.
asio::awaitable<void> UdpForward::State::open_ways() {
  const auto reached = co_await guest();
  while (!to_open.empty()) {
    const std::uint32_t id = to_open.front();
    auto flow = flows.find(id);
    if (flow != flows.end() && !(flow->second.way && flow->second.way->usable())) {
      auto [address, port] = flow->second.port->target();
      auto hand_back = [weak = self, id](std::string_view datagram) {
        if (const auto state = weak.lock()) state->from_guest(id, datagram);
      };
      auto way = co_await reached->open_udp(std::move(address), port, std::move(hand_back));
      flow = flows.find(id);
      if (flow != flows.end()) flow->second.way = std::move(way);
    }
    to_open.pop_front();
    if (flow == flows.end()) continue;
    flow->second.wanted = false;
    for (const std::string& datagram : flow->second.waiting) flow->second.way->send(datagram);
    drop_waiting(flow->second);
  }
}

// ---- the whole --------------------------------------------------------------------------------------------------

UdpForward::UdpForward(asio::any_io_executor executor, ReachGuest guest, Timings timings)
    : state_(std::make_shared<State>(executor, std::move(guest), timings)), tasks_(executor) {
  state_->self = state_;
  tasks_.spawn("published UDP ports", state_->serve());
}

UdpForward::~UdpForward() = default;

std::shared_ptr<UdpForward::Port> UdpForward::open(const asio::ip::address& address, std::uint16_t port, Target target,
                                                   std::shared_ptr<Traffic> traffic, error_code& ec) {
  auto opened = std::make_shared<Port>(state_->expiry.get_executor(), state_, std::move(target), std::move(traffic));
  ec = opened->bind(address, port);
  if (ec) return nullptr;
  Port::receive(opened);
  return opened;
}

std::size_t UdpForward::flows() const noexcept { return state_->flows.size(); }

asio::awaitable<void> UdpForward::stop() {
  state_->expiry.cancel();
  co_await tasks_.stop();
}

}  // namespace cl
