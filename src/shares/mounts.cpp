#include "src/shares/mounts.hpp"

#include <fcntl.h>

#include <algorithm>

#include "provision/readiness.hpp"
#include "src/base/log.hpp"

namespace cl {
namespace {

constexpr auto unmount_limit = std::chrono::seconds(10);

/// Reaching the limit is no failure: the share's own state says whether it is mounted.
asio::awaitable<void> wait_a_while(std::chrono::milliseconds limit, std::string what, Event& event) {
  try {
    co_await with_timeout(limit, std::move(what), event.wait());
  } catch (const Error& error) {
    log::warn("{}", one_line(error));
  }
}

}  // namespace

GuestShares::GuestShares(asio::any_io_executor executor, Config config)
    : executor_(std::move(executor)), config_(std::move(config)) {
  for (const SshPort& at : config_.ports)
    ports_.push_back({at, "colima-like.share." + std::to_string(ports_.size()), nullptr});
  if (!config_.log.empty()) log_.reset(::open(config_.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
}

std::vector<ShareState> GuestShares::states() const {
  std::vector<ShareState> all;
  for (const auto& entry : entries_) all.push_back(entry->state);
  return all;
}

bool GuestShares::complete() const noexcept {
  return std::all_of(entries_.begin(), entries_.end(), [](const auto& entry) {
    return !entry->wanted.problem.empty() || (entry->decided.is_set() && entry->state.problem.empty());
  });
}

void GuestShares::tell(Entry& entry, std::string problem) {
  if (!problem.empty()) log::warn("share {}: {}", entry.state.mount_point, problem);
  if (problem.empty()) log::info("share {} is mounted ({})", entry.state.mount_point, entry.state.type);
  const bool news = entry.state.problem != problem || !entry.decided.is_set();
  entry.state.problem = std::move(problem);
  entry.decided.set();
  if (news && config_.on_change) config_.on_change();
}

/// A port that works and that no other share has; null when there is none.
SharePort* GuestShares::port_of(Entry& entry) {
  if (entry.port != nullptr && !entry.port->unusable) return entry.port;
  entry.port = nullptr;
  for (SharePort& port : ports_) {
    const bool taken = std::any_of(entries_.begin(), entries_.end(),
                                   [&port](const auto& other) { return other && other->port == &port; });
    if (!taken && !port.unusable) return entry.port = &port;
  }
  return nullptr;
}

std::unique_ptr<ShareTransport> GuestShares::transport_of(Entry& entry) {
  if (config_.transport) return config_.transport(entry.state, entry.lost);
  if (entry.state.type == "virtiofs") return virtiofs_transport(entry.state, entry.lost);
  SftpPrograms programs = config_.sftp();
  programs.log = log_.get();
  return sshfs_transport(entry.state, std::move(programs), port_of(entry));
}

/// A device whose server is dead stays dead while the machine runs: QEMU does not connect to another server.
void GuestShares::fall_back(Entry& entry) const {
  if (entry.state.type != "virtiofs" || config_.sftp().server.empty()) return;
  entry.state.type = "sshfs";
  entry.state.tag.clear();
  entry.state.why =
      "its virtiofsd ended: by sshfs until the next start. Containers that had it mounted must be restarted";
}

asio::awaitable<void> GuestShares::mount_once(std::shared_ptr<Entry> entry) {
  std::string problem;
  try {
    if (entry->lost->is_set()) fall_back(*entry);
    const auto guest = co_await config_.guest();
    const auto transport = transport_of(*entry);
    auto on_mounted = [this, entry] { tell(*entry, ""); };
    problem = co_await transport->serve(guest, on_mounted);
    problem += "; it is being mounted again";
  } catch (const Error& error) {
    problem = one_line(error);
  }
  tell(*entry, std::move(problem));
}

asio::awaitable<void> GuestShares::keep(std::shared_ptr<Entry> entry) {
  auto pause = config_.pause;
  for (;;) {
    const auto began = std::chrono::steady_clock::now();
    co_await mount_once(entry);
    if (std::chrono::steady_clock::now() - began > config_.longest_pause) pause = config_.pause;
    co_await sleep_for(pause);
    pause = std::min(pause * 2, config_.longest_pause);
  }
}

asio::awaitable<void> GuestShares::unmount(std::string mount_point) {
  try {
    const auto guest = co_await config_.guest();
    auto work = run_in_guest(*guest, "sh -s", unmount_command(mount_point));
    co_await with_timeout(unmount_limit, "unmounting " + mount_point, std::move(work));
    log::info("share {} is unmounted", mount_point);
  } catch (const Error& error) {
    log::warn("{}", one_line(error));
  }
}

asio::awaitable<void> GuestShares::end(std::vector<std::shared_ptr<Entry>> old) {
  for (const auto& entry : old)
    if (entry) co_await entry->tasks.stop();
  // The innermost first: nothing else can be unmounted.
  std::reverse(old.begin(), old.end());
  for (const auto& entry : old)
    if (entry && entry->wanted.problem.empty()) co_await unmount(entry->wanted.mount_point);
}

asio::awaitable<void> GuestShares::reconcile(std::vector<ShareState> wanted) {
  std::vector<std::shared_ptr<Entry>> next, old = std::move(entries_);
  entries_.clear();
  auto same = [](const ShareState& a, const ShareState& b) {
    return a.location == b.location && a.mount_point == b.mount_point && a.read_only == b.read_only &&
           a.type == b.type && a.tag == b.tag && a.problem == b.problem && a.owner == b.owner;
  };
  for (ShareState& state : wanted) {
    const auto kept =
        std::find_if(old.begin(), old.end(), [&](const auto& entry) { return entry && same(entry->wanted, state); });
    if (kept != old.end()) {
      next.push_back(std::move(*kept));
    } else {
      next.push_back(std::make_shared<Entry>(executor_, std::move(state)));
    }
  }
  entries_ = next;
  // Not interrupted: nothing else knows the old mounts, and a folder would stay shared for ever.
  co_await asio::this_coro::throw_if_cancelled(false);
  co_await uninterrupted(end(std::move(old)));
  co_await asio::this_coro::throw_if_cancelled(true);
  for (const auto& entry : next) {
    if (entry->tasks.size() > 0) continue;
    if (!entry->wanted.problem.empty()) {
      entry->decided.set();
      continue;
    }
    entry->tasks.spawn("share " + entry->wanted.mount_point, keep(entry));
    co_await wait_a_while(config_.patience, "mounting " + entry->wanted.mount_point, entry->decided);
  }
  for (const auto& entry : next)
    if (!entry->decided.is_set()) entry->state.problem = "the guest has not mounted it yet";
  if (config_.on_change) config_.on_change();
}

asio::awaitable<void> GuestShares::quiesce() {
  for (const SharePort& port : ports_)
    if (const auto stream = port.stream) co_await stream->quiesce();
}

asio::awaitable<void> GuestShares::drained() {
  for (const SharePort& port : ports_)
    if (const auto stream = port.stream) co_await stream->detached();
}

asio::awaitable<void> GuestShares::reattach() {
  for (const SharePort& port : ports_) {
    const auto stream = port.stream;
    if (!stream) continue;
    try {
      const Dial dial = unix_dial(port.at.to_guest, port.at.from_guest);
      stream->reattach(co_await dial());
    } catch (const Error& error) {
      log::warn("{}", one_line(error));
      stream->close();  // its share is then mounted again
    }
  }
}

void GuestShares::resume() {
  for (const SharePort& port : ports_)
    if (port.stream) port.stream->resume();
}

void GuestShares::server_lost(const std::string& tag) {
  for (const auto& entry : entries_)
    if (entry->wanted.tag == tag) entry->lost->set();
}

asio::awaitable<void> GuestShares::stop() {
  for (const auto& entry : entries_) co_await entry->tasks.stop();
  entries_.clear();
}

}  // namespace cl
