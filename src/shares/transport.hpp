#pragma once

#include <functional>
#include <memory>
#include <string>

#include "profiles/shares.hpp"
#include "provision/channel/port_stream.hpp"
#include "provision/guest.hpp"
#include "vm/driver.hpp"

namespace cl {

/// How one share gets into the guest. One object serves one share until it cannot any more.
class ShareTransport {
 public:
  virtual ~ShareTransport() = default;
  /// Mounts the share over whatever is left of an earlier mount there, calls `on_mounted`, and returns once it is not
  /// served any more: why. Throws Error{guest_failed} with the guest's words when it cannot be mounted. Cancelled, it
  /// ends what serves the share; the mount itself is the caller's to remove.
  virtual asio::awaitable<std::string> serve(std::shared_ptr<Guest> guest, std::function<void()> on_mounted) = 0;
};

/// A device that the machine was booted with. Its server is the driver's business: `lost` is set when it is gone.
std::unique_ptr<ShareTransport> virtiofs_transport(ShareState share, std::shared_ptr<Event> lost);

/// A pair of the guest's ports that one share may have to itself, and what it carries at the moment.
struct SharePort {
  SshPort at;
  std::string name;  ///< the guest's, without .in and .out
  std::shared_ptr<PortStream> stream;
  bool unusable = false;  ///< the guest has none of that name
};

/// The programs that the sshfs transport runs on this host.
struct SftpPrograms {
  std::filesystem::path server;
  std::filesystem::path bwrap;  ///< may be empty: then the server can reach what its user can
  int log = -1;                 ///< descriptor for its messages; not owned
};

/// An sftp-server of this host on the standard input and output of `sshfs -o passive` in the guest, by `port`, or where
/// that is null through the SSH session, which costs an emulated guest half of its time. It may take the place of a
/// virtiofs, also of one whose server is dead.
std::unique_ptr<ShareTransport> sshfs_transport(ShareState share, SftpPrograms programs, SharePort* port);

/// The server's argv: in name spaces where nothing of this host is but the folder and what the program needs to run, if
/// bwrap is there. Read-only is enforced by the kernel there, else by the server. Pure.
std::vector<std::string> sftp_command_line(const ShareState& share, const SftpPrograms& programs);

/// The guest's side: sshfs on stdin and stdout or, with its name, on a pair of ports; it says "@mounted" on stderr.
/// Pure.
std::string sshfs_command(const ShareState& share, const std::string& port);
/// Mounts a virtiofs share unless it is mounted already. Pure.
std::string virtiofs_command(const ShareState& share);
/// Takes a mount of ours away, also one whose server is gone. Pure.
std::string unmount_command(const std::string& mount_point);

/// A path as /proc/self/mountinfo shows it.
std::string mountinfo_escaped(std::string_view path);

}  // namespace cl
