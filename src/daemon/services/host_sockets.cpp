#include "src/daemon/services/host_sockets.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "docker/api.hpp"
#include "profiles/runtime.hpp"
#include "src/base/failure.hpp"
#include "src/base/fnv.hpp"
#include "src/base/log.hpp"
#include "src/base/net/held_socket.hpp"
#include "src/base/net/socket_stream.hpp"
#include "src/base/net/unix_socket.hpp"
#include "src/base/path.hpp"
#include "src/daemon/core.hpp"
#include "src/shares/events.hpp"

namespace cl {
namespace {

constexpr auto answer = std::chrono::seconds(10);        // of the guest
constexpr auto create_limit = std::chrono::seconds(5);   // of a container's creation; an agent may be starting again
constexpr auto boot_limit = std::chrono::seconds(60);    // of one that starts: Docker waits in it for twice as long
constexpr auto node_limit = std::chrono::seconds(3);     // before a container's start, which waits for no dead share
constexpr auto unused_limit = std::chrono::seconds(60);  // so long the guest has what no container mounts
constexpr auto try_again = std::chrono::milliseconds(200);
constexpr auto queue_pause =
    std::chrono::milliseconds(10);  // of a server whose queue is full, which tells nobody when it is not

std::filesystem::path without_links(const std::filesystem::path& path) {
  std::error_code unknown;
  std::filesystem::path real = std::filesystem::weakly_canonical(path, unknown);
  return unknown ? path : real;
}

/// What people call it.
std::string title_of(const HostSocketState& socket) {
  return socket.host.empty() ? "the ssh agent of this computer's user" : socket.host;
}

HostSocketState* find(std::vector<HostSocketState>& sockets, std::string_view guest) {
  const auto found =
      std::find_if(sockets.begin(), sockets.end(), [guest](const HostSocketState& one) { return one.guest == guest; });
  return found == sockets.end() ? nullptr : &*found;
}

}  // namespace

std::string relay_path(std::string_view guest) {
  return fmt::format("/run/colima-like/sockets/{:016x}", fnv1a_64(guest));
}

HostSockets::HostSockets(Core& core) : core_(core), own_(without_links(core.home.profiles)), changed_(core.executor) {}

std::string HostSockets::Relay::problem() const {
  if (forward && !forward->problem().empty()) return forward->problem();
  return cover ? cover->problem() : std::string();
}

asio::awaitable<void> HostSockets::ready() {
  if (tasks_ || !runtime_of(core_.state().profile).speaks_docker) co_return;
  tasks_ = std::make_unique<TaskGroup>(core_.executor);
  core_.spawn_permanent(*tasks_, "sockets that no container mounts", keep_tidy());
}

/// What the guest keeps of them goes with the machine, or waits for the next daemon.
asio::awaitable<void> HostSockets::close() {
  if (const auto tasks = std::exchange(tasks_, nullptr)) co_await tasks->stop();
  const auto relays = std::exchange(relays_, {});
  for (const auto& [guest, relay] : relays) {
    if (relay->cover) co_await relay->cover->stop();
    co_await relay->forward->stop();
  }
}

void HostSockets::describe(State& state) const {
  for (HostSocketState& socket : state.host_sockets) {
    const auto found = relays_.find(socket.guest);
    socket.problem = found == relays_.end() ? std::string() : found->second->problem();
  }
}

bool HostSockets::there() const {
  return std::all_of(relays_.begin(), relays_.end(), [](const auto& one) { return one.second->is_open(); });
}

void HostSockets::on_state() {
  core_.describe(*this);
  if (!relays_.empty()) core_.shares.tell_if_settled();
}

SocketRules HostSockets::rules() const { return {core_.shares.bind_rules(), core_.state().ssh_agent, own_}; }

asio::awaitable<std::set<std::string>> HostSockets::open_for(std::string body) {
  std::set<std::string> given;
  for (std::string& source : bind_sources(body)) {
    auto bind = co_await socket_bind(std::move(source), rules());
    if (!bind) continue;
    const Profile& profile = core_.state().profile;
    if (bind->foreign && profile.check_binds)
      throw Error(Errc::invalid_config,
                  bind->guest + " is a socket of this computer, and in no folder that is shared with the machine",
                  "share the folder that it is in: colima-like share add '" + bind->host.parent_path().string() +
                      "'; the ssh agent of the shell that ran 'colima-like start' "
                      "is at " +
                      std::string(agent_socket_name));
    if (bind->foreign) continue;
    if (!profile.host_sockets && profile.check_binds)
      throw Error(
          Errc::invalid_config, bind->source + " is a socket of this computer, and no container gets one",
          "'colima-like config set host_sockets true' and 'colima-like apply' give it to containers that mount it")
          .because("the setting host_sockets is false");
    if (!profile.host_sockets) continue;
    given.insert(bind->source);
    co_await give(std::move(*bind));
  }
  co_return given;
}

asio::awaitable<void> HostSockets::give(SocketBind bind) {
  if (find(core_.store.edit().host_sockets, bind.guest) == nullptr) co_await make_room();
  std::vector<HostSocketState>& sockets = core_.store.edit().host_sockets;
  HostSocketState* known = find(sockets, bind.guest);
  const bool is_new = known == nullptr;
  if (is_new) known = &sockets.emplace_back();
  known->guest = bind.guest;
  known->host = bind.host.string();
  known->in_share = bind.in_share;
  if (std::find(known->sources.begin(), known->sources.end(), bind.source) == known->sources.end())
    known->sources.push_back(bind.source);
  const std::string title = title_of(*known);
  const auto relay = relay_of(*known);
  relay->given = Clock::now();
  const auto failure = co_await failure_of(settle(relay, create_limit));
  if (!failure) co_return;
  if (is_new) {
    co_await end(bind.guest);
    std::erase_if(core_.store.edit().host_sockets, [&bind](const auto& one) { return one.guest == bind.guest; });
  }
  throw Error(Errc::guest_failed, bind.source + " cannot be given to the container: it is " + title,
              "see 'colima-like status' and 'colima-like logs'")
      .because(one_line(*failure));
}

/// Those that no container mounts any more go first, and only when there are as many as there may be.
asio::awaitable<void> HostSockets::make_room() {
  if (core_.state().host_sockets.size() < most) co_return;
  co_await attempt("sockets that no container mounts", forget_unused());
  if (core_.state().host_sockets.size() < most) co_return;
  throw Error(Errc::invalid_config, fmt::format("containers mount {} sockets of this computer already", most),
              "remove containers that need theirs no longer; 'colima-like status' lists them");
}

/// The one that is there, or a new one.
std::shared_ptr<HostSockets::Relay> HostSockets::relay_of(const HostSocketState& wanted) {
  std::shared_ptr<Relay>& relay = relays_[wanted.guest];
  if (relay) return relay;
  const auto made = relay = std::make_shared<Relay>();
  const std::string listens = wanted.in_share ? relay_path(wanted.guest) : wanted.guest;
  ReverseForward::Config forward;
  forward.where = "kept " + listens;
  forward.guest = [this] { return reach(); };
  forward.answer = [this, wanted](GuestListener::Arrival) { return connect(wanted); };
  forward.most = most_connections;
  forward.on_state = [this, guest = wanted.guest] {
    const auto found = relays_.find(guest);
    if (found != relays_.end() && found->second->cover) found->second->cover->ask();
    on_state();
  };
  made->forward = std::make_unique<ReverseForward>(core_.executor, std::move(forward));
  if (wanted.in_share) {
    NodeCover::Config cover{listens, wanted.guest, [this] { return reach(); }, [this] { on_state(); }};
    made->cover = std::make_unique<NodeCover>(core_.executor, std::move(cover));
  }
  return made;
}

/// Returns when it is there. Throws why it is not.
asio::awaitable<void> HostSockets::settle(std::shared_ptr<Relay> relay, std::chrono::milliseconds limit) {
  const auto until = Clock::now() + limit;
  auto look = [](Relay& of) -> asio::awaitable<void> {
    co_await of.forward->settled();
    if (of.cover && of.forward->is_open()) co_await of.cover->look();
  };
  for (;;) {
    co_await with_timeout(answer, "the answer of the guest's agent", look(*relay));
    if (relay->is_open()) co_return;
    // A node that has just been made may not be seen in the guest yet.
    if (Clock::now() >= until) throw Error(Errc::guest_failed, relay->problem());
    co_await sleep_for(try_again);
  }
}

/// At the same time: none waits for another one that cannot be there.
asio::awaitable<void> HostSockets::settle_all() {
  TaskGroup settling(core_.executor);
  Notifier settled(core_.executor);
  const auto relays = relays_;
  std::size_t left = relays.size();
  auto one = [](HostSockets& of, std::shared_ptr<Relay> relay, std::size_t& count,
                Notifier& told) -> asio::awaitable<void> {
    co_await attempt("a socket of this host in the guest", of.settle(std::move(relay), boot_limit));
    --count;
    told.notify_all();
  };
  for (const auto& [guest, relay] : relays) settling.spawn("a socket of this host", one(*this, relay, left, settled));
  std::exception_ptr cancelled;
  try {
    while (left > 0) co_await settled.wait();
  } catch (...) {
    cancelled = std::current_exception();
  }
  co_await asio::this_coro::throw_if_cancelled(false);
  co_await uninterrupted(settling.stop());
  co_await asio::this_coro::throw_if_cancelled(true);
  if (cancelled) std::rethrow_exception(cancelled);
}

asio::awaitable<void> HostSockets::bring_back() {
  if (!core_.state().profile.host_sockets) {
    co_await end_all();
    co_return;
  }
  for (const HostSocketState& socket : core_.state().host_sockets) relay_of(socket);
  co_await settle_all();
  core_.describe(*this);
}

asio::awaitable<void> HostSockets::look_again() {
  auto look = [](std::shared_ptr<Relay> relay) -> asio::awaitable<void> { co_await relay->cover->look(); };
  const auto relays = relays_;
  for (const auto& [guest, relay] : relays)
    if (relay->cover) co_await attempt(guest, with_timeout(node_limit, "the guest's look at it", look(relay)));
}

asio::awaitable<void> HostSockets::end(std::string guest) {
  const auto found = relays_.find(guest);
  if (found == relays_.end()) co_return;
  const auto relay = found->second;
  relays_.erase(found);
  if (relay->cover) co_await attempt("uncovering " + guest, with_timeout(answer, "the guest", relay->cover->forget()));
  co_await attempt("closing " + guest, with_timeout(answer, "the guest", relay->forward->forget()));
  if (relay->cover) co_await relay->cover->stop();
  co_await relay->forward->stop();
}

asio::awaitable<void> HostSockets::end_all() {
  while (!relays_.empty()) co_await end(relays_.begin()->first);
}

void HostSockets::set_containers() {
  containers_changed_ = true;
  changed_.notify_all();
}

/// What a container mounts that is created meanwhile is not in the engine's list yet: it is left alone.
asio::awaitable<void> HostSockets::keep_tidy() {
  for (;;) {
    while (!std::exchange(containers_changed_, false)) co_await changed_.wait();
    co_await sleep_for(unused_limit);
    // A machine that sleeps, and is not woken for this, has sockets that nobody there can use.
    while (!is<phase::Running>(core_.phase())) co_await core_.changed();
    if (!core_.state().host_sockets.empty()) co_await attempt("sockets that no container mounts", forget_unused());
  }
}

asio::awaitable<void> HostSockets::forget_unused() {
  const auto engine = co_await core_.guest.open_engine();
  const boost::json::array containers = co_await with_timeout(answer, "the engine", docker::all_containers(*engine));
  const std::vector<std::string> bound = bound_paths(containers);
  auto is_bound = [&bound](const std::string& source) {
    std::string plain = std::filesystem::path(source).lexically_normal().string();
    return std::binary_search(bound.begin(), bound.end(), plain);
  };
  const std::vector<HostSocketState> known = core_.state().host_sockets;
  for (const HostSocketState& socket : known) {
    const auto relay = relays_.find(socket.guest);
    const bool fresh = relay != relays_.end() && Clock::now() - relay->second->given < unused_limit;
    if (fresh || std::any_of(socket.sources.begin(), socket.sources.end(), is_bound)) continue;
    co_await end(socket.guest);
    std::erase_if(core_.store.edit().host_sockets, [&](const auto& one) { return one.guest == socket.guest; });
  }
}

/// A suspended machine is not woken for it.
asio::awaitable<std::shared_ptr<Guest>> HostSockets::reach() {
  while (is<phase::Suspending, phase::Saved, phase::Paused, phase::Preparing>(core_.phase())) co_await core_.changed();
  co_return co_await core_.guest.reach(answer);
}

/// The guest may move and replace whatever is in a share that it can write to: the way to the socket leads out of no
/// share, and ends at no socket of our own.
asio::awaitable<std::unique_ptr<ByteStream>> HostSockets::connect(HostSocketState to) {
  const std::filesystem::path path = to.host.empty() ? core_.state().ssh_agent : to.host;
  const std::filesystem::path root = shared_root(path, core_.shares.bind_rules().shared);
  if (path.empty() || (to.in_share && root.empty()))
    throw Error(Errc::not_found, "it is not shared with the machine any more");
  HeldSocket held{UniqueFd(), path};
  if (!root.empty()) {
    auto hold = [root, path] { return hold_socket(root, path); };
    held = co_await look_at(path, std::move(hold));
  }
  for (;;) {
    UnixSocket socket(core_.executor);
    const error_code ec = co_await try_connect(socket, held.path);
    if (ec) throw Error(Errc::io, "cannot connect to " + path.string()).because(ec.message());
    error_code not_yet;
    const std::string bound = socket.remote_endpoint(not_yet).path();
    if (is_below(bound, own_) || is_below(bound, core_.home.profiles))
      throw Error(Errc::io, path.string() + " is a socket of colima-like itself now");
    if (!not_yet) co_return std::make_unique<SocketStream>(SocketStream::Socket(std::move(socket)));
    co_await sleep_for(queue_pause);
  }
}

}  // namespace cl
