#include "src/shares/choice.hpp"

#include <unistd.h>

#include <algorithm>

#include "src/base/child.hpp"
#include "vm/qemu/virtiofsd.hpp"

namespace cl {
namespace fs = std::filesystem;
namespace {

constexpr const char* no_9p =
    "the guest's kernel has no 9p (Debian's cloud kernel is built without it); use virtiofs or sshfs";
constexpr const char* install_sftp_server = "install the package openssh-sftp-server";

fs::path first_program(std::initializer_list<const char*> names) {
  for (const char* name : names)
    if (const auto found = find_program(name)) return *found;
  return {};
}

const ShareState* device_of(const Share& share, const std::vector<ShareState>& devices) {
  const auto found = std::find_if(devices.begin(), devices.end(), [&share](const ShareState& device) {
    return device.location == share.location && device.read_only == share.read_only;
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

std::string sshfs_note(const ShareHost& host) {
  std::string note;
  if (!host.root) note = "chown does nothing there: every file is this user's";
  if (host.bwrap.empty())
    note = joined(note, "the guest's root could reach beyond the folder: bubblewrap does not run here");
  return note;
}

}  // namespace

asio::awaitable<ShareHost> look_for_share_servers(fs::path cache, std::string hypervisor) {
  ShareHost host;
  host.root = ::geteuid() == 0;
  // Debian and Ubuntu, Fedora, Arch, macOS, Homebrew.
  host.sftp_server =
      first_program({"/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server",
                     "/usr/libexec/sftp-server", "/opt/homebrew/opt/openssh/libexec/sftp-server"});
  const ServerRights rights = co_await server_rights();
  if (rights.sandbox == ServerRights::Sandbox::name_spaces) host.bwrap = first_program({"bwrap"});
  if (!hypervisor.empty()) {
    host.virtiofs_by = std::move(hypervisor);
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
    if (rights.sandbox == ServerRights::Sandbox::none)
      host.virtiofs_note = joined(host.virtiofs_note, "virtiofsd has no sandbox: name spaces do not work here");
  } catch (const Error& error) {
    host.no_virtiofs = one_line(error);
  }
  co_return host;
}

std::vector<ShareState> choose_share_types(const std::vector<Share>& plan, const ShareHost& host,
                                           const std::vector<ShareState>* devices) {
  std::vector<ShareState> chosen;
  int number = 0;
  for (const Share& share : plan) {
    ShareState state;
    state.location = share.location;
    state.written = share.written;
    state.mount_point = share.mount_point;
    state.read_only = share.read_only;
    state.problem = share.problem;
    const bool any = share.type == "auto";
    auto impossible = [&](const std::string& why, const std::string& remedy) {
      if (!any)
        throw Error(Errc::host_requirement, share.written.string() + " cannot be shared by " + share.type, remedy)
            .because(why);
      state.problem = why;
    };
    const ShareState* device = devices != nullptr ? device_of(share, *devices) : nullptr;
    const bool wants_virtiofs = any || share.type == "virtiofs";
    const std::string& no_virtiofs = why_no_virtiofs(share, host);
    if (share.type == "9p") {
      impossible(no_9p, "colima-like config set share_type auto");
    } else if (!share.problem.empty()) {
      state.type = any ? "" : share.type;
    } else if (wants_virtiofs && (device != nullptr || (devices == nullptr && no_virtiofs.empty()))) {
      state.type = "virtiofs";
      state.tag = device != nullptr ? device->tag : "share" + std::to_string(number++);
      state.why = joined(host.virtiofs_by, host.virtiofs_note);
    } else if (share.type == "virtiofs" && !no_virtiofs.empty()) {
      impossible(no_virtiofs, "scripts/setup --virtiofsd; or let share_type be auto");
    } else if (host.sftp_server.empty()) {
      impossible("there is no sftp-server on this host", install_sftp_server);
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
