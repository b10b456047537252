#include "src/daemon/services/shares.hpp"

#include <algorithm>
#include <utility>

#include "profiles/runtime.hpp"
#include "src/base/confine.hpp"
#include "src/base/failure.hpp"
#include "src/base/file.hpp"
#include "src/base/log.hpp"
#include "src/base/path.hpp"
#include "src/base/shell.hpp"
#include "src/daemon/core.hpp"
#include "src/daemon/preparation.hpp"
#include "vm/qemu/virtiofsd.hpp"

namespace cl {
namespace {

/// Containers that come back by themselves start only now (vm/guest_image: colima-like-shares.service). The engine's
/// socket is put where clients know it when that is inside a share, whose own socket there leads nowhere in the guest.
/// Of a hidden folder the guest sees the name, on which something can be mounted.
constexpr const char* mounted_script = R"(
mkdir -p /run/colima-like
: > /run/colima-like/shares-settled
pipe=/run/colima-like/shares-pipe
if [ -p $pipe ]; then echo <> $pipe >&0; fi
if [ "$engine" ] && [ -S "$socket" ] && [ ! "$socket" -ef "$engine" ]; then mount --bind "$engine" "$socket"; fi
if [ "$engine" ] && [ "$hidden" ] && [ ! -e "$socket" ]; then
  mount -t tmpfs -o mode=755,size=64k colima-like "$hidden" && mkdir -p "${socket%/*}" && : > "$socket" &&
    mount --bind "$engine" "$socket"
fi
)";

bool has_device(const std::vector<ShareState>& devices, const std::string& tag) {
  return std::any_of(devices.begin(), devices.end(), [&tag](const ShareState& device) { return device.tag == tag; });
}

}  // namespace

std::vector<Share> Shares::plan() const {
  return plan_shares(core_.state().profile, user_home(), {core_.home.profiles, core_.home.cache});
}

asio::awaitable<void> Shares::choose_for_boot() {
  const std::vector<Share> wanted = plan();
  const std::string hypervisor = core_.driver->traits().share_server;
  host_ = ShareHost{};
  server_lost_ = false;
  if (!wanted.empty()) host_ = co_await look_for_share_servers(core_.home.cache, hypervisor);
  choose_devices(wanted);
  if (!core_.state().share_devices.empty() && hypervisor.empty()) {
    // A server that ends while its hypervisor starts takes the whole machine with it.
    BootPlan trial;
    trial.run_directory = core_.paths.run_directory;
    add_devices(trial);
    for (const auto& [folder, why] : co_await try_share_servers(trial))
      host_.unserved[folder] = host_.virtiofs_by + " does not serve it: " + why;
    choose_devices(wanted);
  }
  note_problems();
  if (!core_.state().data_ready) note_hidden();
  std::string text = shares_credential(core_.state().shares);
  // Docker waits for them as for what is mounted over SSH.
  for (const HostSocketState& socket : core_.state().host_sockets)
    if (core_.state().profile.host_sockets) text += "socket - rw " + socket.guest + "\n";
  std::error_code ignored;
  fs::remove(shares_file(core_.paths), ignored);
  if (!text.empty()) write_atomically(shares_file(core_.paths), text);
}

void Shares::choose_devices(const std::vector<Share>& wanted) {
  State& state = core_.store.edit();
  state.shares = choose_share_types(wanted, host_, nullptr, state.profile.share_confinement);
  state.share_devices.clear();
  for (const ShareState& share : state.shares)
    if (share.problem.empty() && share.type == "virtiofs") state.share_devices.push_back(share);
}

void Shares::note_problems() {
  for (const ShareState& share : core_.state().shares)
    if (!share.problem.empty()) core_.notes.push_back(share.written + " is not shared: " + share.problem);
}

/// At the first start.
void Shares::note_hidden() {
  for (const ShareState& share : core_.state().shares) {
    if (!share.problem.empty() || share.hidden.empty()) continue;
    core_.notes.push_back("keys, tokens and browser profiles in " + share.written + " (such as " +
                          share.hidden.front() +
                          ") are hidden from the machine, and what your shell runs is read-only there: docs/shares.md; "
                          "'colima-like config set share_hide' changes that");
    return;
  }
}

void Shares::add_devices(BootPlan& plan) const {
  for (const ShareState& device : core_.state().share_devices)
    plan.shares.push_back({device.tag,
                           device.location,
                           device.read_only,
                           {device.hidden.begin(), device.hidden.end()},
                           {device.kept.begin(), device.kept.end()},
                           parse_file_owner(device.owner)});
  plan.confine_shares = core_.state().profile.share_confinement == ShareConfinement::required;
  if (!plan.shares.empty() && core_.driver->traits().share_server.empty())
    plan.share_server = find_virtiofsd(core_.home.cache / "tools" / "bin").value_or("");
  std::error_code ignored;
  const fs::path credential = shares_file(core_.paths);
  if (fs::exists(credential, ignored)) plan.credentials.push_back({"colima-like.shares", credential});
}

asio::awaitable<void> Shares::choose_again() {
  const std::vector<Share> wanted = plan();
  const auto unserved = host_.unserved;  // servers are tried before a boot only
  if (!wanted.empty()) host_ = co_await look_for_share_servers(core_.home.cache, core_.driver->traits().share_server);
  host_.unserved = unserved;
  State& state = core_.store.edit();
  state.shares = choose_share_types(wanted, host_, &state.share_devices, state.profile.share_confinement);
  note_problems();
}

void Shares::make_mounts() {
  GuestShares::Config config;
  config.guest = [this] { return core_.guest.reach(GuestAccess::boot_patience); };
  config.on_change = [this] {
    core_.describe(*this);
    tell_if_settled();
  };
  if (const auto machine = machine_of(core_.phase())) config.ports = (*machine)->share_ports();
  config.sftp = [this] {
    SftpPrograms programs{host_.sftp_server, host_.bwrap, {}};
    if (host_.bwrap.empty() && host_.unconfined.empty()) programs.confine = confining_program();
    programs.required = core_.state().profile.share_confinement == ShareConfinement::required;
    return programs;
  };
  config.log = core_.paths.log_directory / "shares.log";
  mounts_ = std::make_unique<GuestShares>(core_.executor, std::move(config));
}

/// After a reboot inside the guest, too, whose Docker waits for what does not come with the machine.
void Shares::tell_if_settled() {
  const bool mounted = mounts_ ? mounts_->complete() : core_.state().shares.empty();
  if (mounted && core_.host_sockets.there() && is<phase::Running>(core_.phase()))
    core_.spawn("shares mounted", notify_guest());
}

asio::awaitable<void> Shares::reconcile() {
  const bool mounts = mounts_ || !core_.state().shares.empty();
  if (!mounts && core_.state().host_sockets.empty()) co_return;
  if (mounts) co_await mount();
  co_await core_.host_sockets.bring_back();
  co_await notify_guest();
}

asio::awaitable<void> Shares::mount() {
  // A server may have ended before anybody was there to be told.
  const auto& devices = core_.state().share_devices;
  const auto& shares = core_.state().shares;
  const bool lost = std::any_of(shares.begin(), shares.end(), [&devices](const ShareState& share) {
    return !share.tag.empty() && !has_device(devices, share.tag);
  });
  if (lost) co_await choose_again();
  if (!mounts_) make_mounts();
  std::vector<ShareState> wanted = core_.state().shares;
  co_await mounts_->reconcile(std::move(wanted));
}

std::string Shares::covered_socket() const {
  for (const ShareState& share : core_.state().shares)
    for (const std::string& hidden : share.hidden) {
      const fs::path there = share.mount_point / fs::path(hidden).lexically_relative(share.location);
      if (share.problem.empty() && is_below(core_.paths.docker_socket, there)) return there;
    }
  return {};
}

asio::awaitable<void> Shares::notify_guest() {
  if (!core_.guest.link()) co_return;
  const auto guest = co_await core_.guest.reach(GuestAccess::boot_patience);
  const Runtime& runtime = runtime_of(core_.state().profile);
  const std::string engine = runtime.speaks_docker ? std::string(runtime.guest_socket) : "";
  std::string script = "engine=" + shell_quoted(engine) +
                       "\nsocket=" + shell_quoted(core_.paths.docker_socket.string()) +
                       "\nhidden=" + shell_quoted(covered_socket()) + mounted_script;
  const GuestResult told = co_await run_in_guest(*guest, "sh -s", std::move(script));
  if (told.exit_code != 0) log::warn("shares: {}", last_lines(told.errors, 2));
}

asio::awaitable<void> Shares::bring_back() {
  const auto failure = co_await failure_of(choose_again());
  if (failure) core_.notes.push_back(one_line(*failure));
  co_await reconcile();
}

void Shares::server_lost(const std::string& tag) {
  server_lost_ = true;
  State& state = core_.store.edit();
  state.not_saved = "the server of one of its shares has ended; from the next start on it can be saved again";
  // A daemon that takes the machine over must not wait in that device.
  std::erase_if(state.share_devices, [&tag](const ShareState& device) { return device.tag == tag; });
  if (mounts_) mounts_->server_lost(tag);
}

asio::awaitable<void> Shares::quiesce() {
  kept_ = true;
  if (mounts_) co_await mounts_->quiesce();
}

asio::awaitable<void> Shares::detach() {
  kept_ = core_.guest.connected();
  if (!kept_) co_return co_await close();
  if (mounts_) co_await mounts_->drained();
}

asio::awaitable<void> Shares::reattach() {
  kept_ = core_.guest.connected();
  if (!kept_) co_return co_await close();
  if (mounts_) co_await mounts_->reattach();
}

asio::awaitable<void> Shares::resume() {
  if (mounts_ && kept_) mounts_->resume();
  co_return;
}

asio::awaitable<void> Shares::close() {
  const auto mounts = std::exchange(mounts_, nullptr);
  if (mounts) co_await mounts->stop();
}

/// What the guest has of this computer stays listed while no mounts are kept: for a suspended machine, and for the next
/// daemon.
void Shares::describe(State& state) const {
  if (mounts_) state.shares = mounts_->states();
}

BindRules Shares::bind_rules() const {
  BindRules rules;
  rules.socket = core_.paths.docker_socket;
  for (const ShareState& share : core_.state().shares)
    rules.shared.push_back(
        {share.location, share.mount_point, share.problem, {share.hidden.begin(), share.hidden.end()}});
  rules.hide = core_.state().profile.share_hide;
  if (!core_.driver->traits().own_machine)
    rules.instead =
        "use a volume, and 'docker cp'; 'colima-like config set check_binds false' and 'colima-like apply' "
        "let containers mount the host's own folders";
  return rules;
}

}  // namespace cl
