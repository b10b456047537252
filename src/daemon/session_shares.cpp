#include <algorithm>
#include <cstdlib>

#include "profiles/runtime.hpp"
#include "src/base/file.hpp"
#include "src/base/log.hpp"
#include "src/daemon/preparation.hpp"
#include "src/daemon/session.hpp"
#include "vm/qemu/virtiofsd.hpp"

// Session's host folders in the guest. What is asked for: profiles/shares.hpp; how each comes there: share_choice.hpp.

namespace cl {
namespace {

fs::path user_home() {
  const char* home = std::getenv("HOME");
  return home != nullptr && *home == '/' ? home : "/";
}

/// Containers that come back by themselves start only now (vm/guest_image: colima-like-shares.service). The engine's
/// socket is put where clients know it when that is inside a share, whose own socket there leads nowhere in the guest.
constexpr const char* settled_script = R"(
mkdir -p /run/colima-like
: > /run/colima-like/shares-settled
pipe=/run/colima-like/shares-pipe
if [ -p $pipe ]; then echo <> $pipe >&0; fi
if [ "$engine" ] && [ -S "$socket" ] && [ ! "$socket" -ef "$engine" ]; then mount --bind "$engine" "$socket"; fi
)";

}  // namespace

asio::awaitable<void> Session::choose_boot_shares() {
  const std::vector<Share> wanted = plan_shares(state_.profile, user_home());
  share_host_ = ShareHost{};
  if (!wanted.empty()) share_host_ = co_await look_for_share_servers(home_.cache, driver_->traits().share_server);
  choose_share_devices(wanted);
  if (!state_.share_devices.empty() && driver_->traits().share_server.empty()) {
    // A server that ends while its hypervisor starts takes the whole machine with it.
    BootPlan trial;
    trial.run_directory = paths_.run_directory;
    add_share_devices(trial);
    for (const auto& [folder, why] : co_await try_share_servers(trial))
      share_host_.unserved[folder] = share_host_.virtiofs_by + " does not serve it: " + why;
    choose_share_devices(wanted);
  }
  for (const ShareState& share : state_.shares)
    if (!share.problem.empty()) notes_.push_back(share.written + " is not shared: " + share.problem);
  const std::string text = shares_credential(state_.shares);
  fs::remove(shares_file(paths_));
  if (!text.empty()) write_atomically(shares_file(paths_), text);
}

void Session::choose_share_devices(const std::vector<Share>& wanted) {
  state_.shares = choose_share_types(wanted, share_host_, nullptr);
  state_.share_devices.clear();
  for (const ShareState& share : state_.shares)
    if (share.problem.empty() && share.type == "virtiofs") state_.share_devices.push_back(share);
}

void Session::add_share_devices(BootPlan& plan) const {
  for (const ShareState& device : state_.share_devices)
    plan.shares.push_back({device.tag, device.location, device.read_only});
  if (!plan.shares.empty() && driver_->traits().share_server.empty())
    plan.share_server = find_virtiofsd(home_.cache / "tools" / "bin").value_or("");
  if (fs::exists(shares_file(paths_))) plan.credentials.push_back({"colima-like.shares", shares_file(paths_)});
}

asio::awaitable<void> Session::choose_shares_again() {
  const std::vector<Share> wanted = plan_shares(state_.profile, user_home());
  const auto unserved = share_host_.unserved;  // servers are tried before a boot only
  if (!wanted.empty()) share_host_ = co_await look_for_share_servers(home_.cache, driver_->traits().share_server);
  share_host_.unserved = unserved;
  state_.shares = choose_share_types(wanted, share_host_, &state_.share_devices);
  for (const ShareState& share : state_.shares)
    if (!share.problem.empty()) notes_.push_back(share.written + " is not shared: " + share.problem);
}

asio::awaitable<void> Session::settle_shares() {
  if (!shares_ && state_.shares.empty()) co_return;
  // A server may have ended before anybody was there to be told.
  if (std::any_of(state_.shares.begin(), state_.shares.end(), [this](const ShareState& share) {
        return !share.tag.empty() &&
               std::none_of(state_.share_devices.begin(), state_.share_devices.end(),
                            [&share](const ShareState& device) { return device.tag == share.tag; });
      }))
    co_await choose_shares_again();
  if (!shares_) {
    GuestShares::Config config;
    config.guest = [this]() -> asio::awaitable<std::shared_ptr<Guest>> {
      if (!link_) throw Error(Errc::not_running, "the machine is not up");
      co_return co_await link_->guest(guest_patience);
    };
    config.on_change = [this] {
      state_.shares = shares_->states();
      note_state();
      // After a reboot inside the guest, too, whose Docker waits for those that come over SSH.
      if (vm_state_ == VmState::running && shares_->complete()) tasks_.spawn("shares settled", tell_settled());
    };
    config.ports = machine_->share_ports();
    config.sftp_server = share_host_.sftp_server;
    config.bwrap = share_host_.bwrap;
    config.log = paths_.log_directory / "shares.log";
    shares_ = std::make_unique<GuestShares>(executor_, std::move(config));
  }
  std::vector<ShareState> wanted = state_.shares;
  co_await shares_->settle(std::move(wanted));
  co_await tell_settled();
}

asio::awaitable<void> Session::tell_settled() {
  if (!link_) co_return;
  const auto guest = co_await link_->guest(guest_patience);
  const Runtime& runtime = runtime_of(state_.profile);
  const std::string engine = runtime.speaks_docker ? std::string(runtime.guest_socket) : "";
  std::string script =
      "engine=" + shell_quoted(engine) + "\nsocket=" + shell_quoted(paths_.docker_socket.string()) + settled_script;
  const GuestResult told = co_await run_in_guest(*guest, "sh -s", std::move(script));
  if (told.exit_code != 0) log::warn("shares: {}", last_lines(told.errors, 2));
}

/// For a machine that runs already: what cannot be is a note, and everything else goes on.
asio::awaitable<void> Session::bring_shares_back() {
  try {
    co_await choose_shares_again();
  } catch (const Error& error) {
    notes_.push_back(one_line(error));
  }
  co_await settle_shares();
}

asio::awaitable<void> Session::close_shares() {
  if (shares_) co_await shares_->stop();
  shares_.reset();
}

asio::awaitable<void> Session::watch_shares() {
  const auto machine = machine_;
  share_server_ended_ = false;
  for (;;) {
    const std::string tag = co_await machine->share_lost();
    if (tag.empty() || machine_ != machine || ended_) co_return;
    share_server_ended_ = true;
    state_.not_saved = "the server of one of its shares has ended; from the next start on it can be saved again";
    // A daemon that takes the machine over must not wait in that device.
    std::erase_if(state_.share_devices, [&tag](const ShareState& device) { return device.tag == tag; });
    note_state();
    if (shares_) shares_->server_lost(tag);
  }
}

BindRules Session::bind_rules() const {
  BindRules rules;
  rules.socket = paths_.docker_socket;
  for (const ShareState& share : state_.shares)
    rules.shared.push_back({share.location, share.mount_point, share.problem});
  return rules;
}

}  // namespace cl
