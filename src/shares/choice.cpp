#include "src/shares/choice.hpp"

#include <unistd.h>

#include <algorithm>

#include "src/base/child.hpp"
#include "src/base/confine.hpp"
#include "src/base/file.hpp"
#include "src/base/path_guard.hpp"
#include "src/shares/transport.hpp"
#include "vm/qemu/virtiofsd.hpp"

namespace cl {
namespace fs = std::filesystem;
namespace {

constexpr const char* no_9p =
    "the guest's kernel has no 9p (Debian's cloud kernel is built without it); use virtiofs or sshfs";
constexpr const char* allow_unconfined =
    "install bubblewrap; or 'colima-like config set share_confinement optional' shares it all the same";
constexpr const char* show_all = "'colima-like config set share_hide []' shares it with all that is in it";
constexpr const char* install_sftp_server = "install the package openssh-sftp-server";

fs::path first_program(std::initializer_list<const char*> names) {
  for (const char* name : names)
    if (const auto found = find_program(name)) return *found;
  return {};
}

std::string text_of(const std::optional<FileOwner>& owner) { return owner ? to_string(*owner) : ""; }

const ShareState* device_of(const Share& share, const std::vector<ShareState>& devices) {
  const auto found = std::find_if(devices.begin(), devices.end(), [&share](const ShareState& device) {
    return device.location == share.location && device.read_only == share.read_only &&
           device.owner == text_of(share.owner);
  });
  return found == devices.end() ? nullptr : &*found;
}

const std::string& why_no_virtiofs(const Share& share, const ShareHost& host) {
  const auto tried = host.unserved.find(share.location);
  return tried == host.unserved.end() ? host.no_virtiofs : tried->second;
}

std::string joined(std::string text, const std::string& more) {
  if (text.empty() || more.empty()) return text + more;
  return text + "; " + more;
}

/// For `share_confinement: optional`, where the user was told what it means.
std::string unconfined_note(const std::string& why) {
  return "the guest's root could reach all that this user can: " + why;
}

std::string refused_unconfined(const std::string& why) {
  return "its server could reach all that this user can: " + why;
}

std::string sshfs_note(const ShareHost& host) {
  std::string note;
  if (!host.root) note = "chown does nothing there: every file is this user's";
  if (!host.unconfined.empty()) note = joined(note, unconfined_note(host.unconfined));
  return note;
}

/// Why a program that ends by itself does not run; empty: it does.
asio::awaitable<std::string> why_not_run(std::vector<std::string> argv) {
  std::string why;
  try {
    Command probe;
    probe.argv = std::move(argv);
    const Finished tried = co_await run(std::move(probe), "", std::chrono::seconds(5));
    if (!tried.status.ok()) why = tried.errors.empty() ? tried.status.str() : last_lines(tried.errors, 1);
  } catch (const Error& error) {
    why = one_line(error);
  }
  co_return why;
}

/// Why an sftp-server does not run like this; it is tried once, on nothing. Empty: it does.
asio::awaitable<std::string> why_not(SftpPrograms programs) {
  ShareState empty;
  empty.location = "/usr/lib";
  empty.read_only = true;
  std::vector<std::string> argv = sftp_command_line(empty, programs);
  co_return co_await why_not_run(std::move(argv));
}

/// Why nothing can be hidden in a share. Containers may have a listener of their own, which leaves no room for ours.
asio::awaitable<std::string> try_guard() {
  std::string why = why_no_path_guard();
  if (!why.empty()) co_return why;
  const GuardedPaths paths{"/usr", {"/usr/none"}, {}};
  std::vector<std::string> argv =
      guarded(confining_program(), paths, {find_program("true").value_or("/bin/true").string()});
  co_return co_await why_not_run(std::move(argv));
}

/// By name spaces, else by what the system has for a user's programs.
asio::awaitable<void> choose_confinement(ShareHost& host) {
  SftpPrograms programs{host.sftp_server, first_program({"bwrap"}), {}};
  std::string why = "bubblewrap is not installed";
  if (!programs.bwrap.empty()) {
    why = co_await why_not(programs);
    host.bwrap = why.empty() ? programs.bwrap : fs::path();
    if (why.empty()) co_return;
    why = "bubblewrap does not run: " + why;
    programs.bwrap.clear();
  }
  host.unconfined = why;
  if (host.root) co_return;  // nothing else holds root
  std::string other = why_no_confinement();
  programs.confine = confining_program();
  if (other.empty()) other = co_await why_not(programs);
  host.unconfined = other.empty() ? "" : joined(why, other);
}

}  // namespace

asio::awaitable<ShareHost> look_for_share_servers(fs::path cache, std::string hypervisor) {
  ShareHost host;
  host.root = ::geteuid() == 0;
  host.no_guard = co_await try_guard();
  // Debian and Ubuntu, Fedora, Arch, macOS, Homebrew.
  host.sftp_server =
      first_program({"/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server",
                     "/usr/libexec/sftp-server", "/opt/homebrew/opt/openssh/libexec/sftp-server"});
  const ServerRights rights = co_await server_rights();
  if (!host.sftp_server.empty()) co_await choose_confinement(host);
#ifdef __APPLE__
  // There what confines a server is what hides.
  if (host.no_guard.empty()) host.no_guard = host.unconfined;
#endif
  if (!hypervisor.empty()) {
    host.virtiofs_by = std::move(hypervisor);
    host.virtiofs_keeps_owners = host.virtiofs_by + " cannot give files another owner";
    host.virtiofs_shows_all = host.virtiofs_by + " serves a folder with all that is in it, also what share_hide names";
    co_return host;
  }
  const auto binary = find_virtiofsd(cache / "tools" / "bin");
  if (!binary) {
    host.no_virtiofs = "there is no virtiofsd on this host (scripts/setup --virtiofsd)";
    co_return host;
  }
  try {
    const Virtiofsd found = co_await ask_virtiofsd(*binary);
    host.virtiofs_by = "virtiofsd " + found.version;
    if (!host.root && !rights.subuids)
      host.virtiofs_note = "every file is this user's: /etc/subuid has no range for it";
    if (!found.translates) host.virtiofs_keeps_owners = host.virtiofs_by + " cannot give files another owner";
    if (rights.sandbox == ServerRights::Sandbox::none) host.virtiofsd_unconfined = why_no_confinement();
  } catch (const Error& error) {
    host.no_virtiofs = one_line(error);
  }
  co_return host;
}

std::vector<ShareState> choose_share_types(const std::vector<Share>& plan, const ShareHost& host,
                                           const std::vector<ShareState>* devices, ShareConfinement confinement) {
  const bool required = confinement == ShareConfinement::required;
  std::vector<ShareState> chosen;
  int number = 0;
  for (const Share& share : plan) {
    ShareState state;
    state.location = share.location;
    state.written = share.written;
    state.mount_point = share.mount_point;
    state.read_only = share.read_only;
    state.owner = text_of(share.owner);
    state.problem = share.problem;
    for (const fs::path& path : share.hidden) state.hidden.push_back(path);
    for (const fs::path& path : share.kept) state.kept.push_back(path);
    const bool hides = !state.hidden.empty() || !state.kept.empty();
    const bool any = share.type == "auto";
    auto impossible = [&](const std::string& why, const std::string& remedy) {
      if (!any)
        throw Error(Errc::host_requirement, share.written.string() + " cannot be shared by " + share.type, remedy)
            .because(why);
      state.problem = why + "; " + remedy;
    };
    const ShareState* device = devices != nullptr ? device_of(share, *devices) : nullptr;
    const bool wants_virtiofs = any || share.type == "virtiofs";
    std::string no_virtiofs = why_no_virtiofs(share, host);
    if (no_virtiofs.empty() && required && !host.virtiofsd_unconfined.empty())
      no_virtiofs = refused_unconfined(host.virtiofsd_unconfined);
    if (no_virtiofs.empty() && share.owner) no_virtiofs = host.virtiofs_keeps_owners;
    if (no_virtiofs.empty() && hides) no_virtiofs = host.virtiofs_shows_all;
    if (share.type == "9p") {
      impossible(no_9p, "colima-like config set share_type auto");
    } else if (!share.problem.empty()) {
      state.type = any ? "" : share.type;
    } else if (hides && device == nullptr && !host.no_guard.empty()) {
      impossible("what share_hide names cannot be hidden: " + host.no_guard, show_all);
    } else if (wants_virtiofs && (device != nullptr || (devices == nullptr && no_virtiofs.empty()))) {
      state.type = "virtiofs";
      state.tag = device != nullptr ? device->tag : "share" + std::to_string(number++);
      state.why = joined(host.virtiofs_by, host.virtiofs_note);
      if (!host.virtiofsd_unconfined.empty()) state.why = joined(state.why, unconfined_note(host.virtiofsd_unconfined));
      if (device != nullptr && (device->hidden != state.hidden || device->kept != state.kept)) {
        // Its server was started with these.
        state.hidden = device->hidden;
        state.kept = device->kept;
        state.why = joined(state.why, "what share_hide names is hidden from the next start on");
      }
    } else if (share.type == "virtiofs" && !no_virtiofs.empty()) {
      impossible(no_virtiofs, no_virtiofs == host.virtiofs_shows_all
                                  ? show_all
                                  : "scripts/setup --virtiofsd; or let share_type be auto");
    } else if (host.sftp_server.empty()) {
      impossible("there is no sftp-server on this host", install_sftp_server);
    } else if (required && !host.unconfined.empty()) {
      impossible(refused_unconfined(host.unconfined), allow_unconfined);
    } else {
      state.type = "sshfs";
      if (any) state.why = no_virtiofs;
      if (wants_virtiofs && no_virtiofs.empty()) state.why = "virtiofs from the next start on";
      state.why = joined(state.why, sshfs_note(host));
    }
    chosen.push_back(std::move(state));
  }
  return chosen;
}

std::string shares_credential(const std::vector<ShareState>& shares) {
  std::string text;
  for (const ShareState& share : shares)
    if (share.problem.empty())
      text += share.type + " " + (share.tag.empty() ? "-" : share.tag) + (share.read_only ? " ro " : " rw ") +
              share.mount_point + "\n";
  return text;
}

}  // namespace cl
