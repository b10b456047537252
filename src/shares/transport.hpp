#pragma once

#include <functional>
#include <memory>
#include <string>

#include "profiles/shares.hpp"
#include "provision/channel/port_stream.hpp"
#include "provision/guest.hpp"
#include "src/base/confine.hpp"
#include "vm/driver.hpp"

namespace cl {

/// How one share gets into the guest. One object serves one share until it cannot any more.
class ShareTransport {
 public:
  virtual ~ShareTransport() = default;
  /// Mounts the share, over whatever an earlier mount has left there, and calls `on_mounted`. Returns when the share is
  /// no longer served, with the reason. Throws Error{guest_failed} with the guest's words when it cannot be mounted.
  /// A cancellation ends what serves the share; the caller removes the mount.
  virtual asio::awaitable<std::string> serve(std::shared_ptr<Guest> guest, std::function<void()> on_mounted) = 0;
};

/// A device that the machine was booted with. The driver runs its server, and `lost` is set when that is gone.
std::unique_ptr<ShareTransport> virtiofs_transport(ShareState share, std::shared_ptr<Event> lost);

/// A pair of the guest's ports that one share may have for itself, and its stream at the moment.
struct SharePort {
  SshPort at;
  std::string name;  ///< the guest's, without .in and .out
  std::shared_ptr<PortStream> stream;
  bool unusable = false;  ///< the guest has none of that name
};

/// The programs that the sshfs transport runs on this host.
struct SftpPrograms {
  std::filesystem::path server;
  std::filesystem::path bwrap;                        ///< confines it by name spaces; empty: they do not work here
  std::filesystem::path confine;                      ///< confining_program(); empty: that does not work either
  bool required = true;                               ///< a server that nothing confines is not started
  int log = -1;                                       ///< descriptor for its messages; not owned
  int calls = -1;                                     ///< call_filter() for bwrap; not owned
  std::filesystem::path guard = confining_program();  ///< keeps it from what is hidden
};

/// An sftp-server of this host, connected to `sshfs -o passive` in the guest: by `port`, or through the SSH session
/// when that is null, which costs an emulated guest half of its time. It can replace a virtiofs mount, even one whose
/// server is dead.
std::unique_ptr<ShareTransport> sshfs_transport(ShareState share, SftpPrograms programs, SharePort* port);

/// The server's argv. With bwrap the server runs in name spaces that have only the folder and what the program needs;
/// else it is confined to that (src/base/confine.hpp) where that works. In both cases the kernel enforces read-only.
/// What the share hides or keeps is guarded (src/base/path_guard.hpp); with bwrap, what of that is there already is
/// besides covered by something empty, or read-only, also for a server that was taken over.
std::vector<std::string> sftp_command_line(const ShareState& share, const SftpPrograms& programs);

/// The command in the guest: sshfs on stdin and stdout or, with its name, on a pair of ports. It prints "@mounted" to
/// stderr. Pure.
std::string sshfs_command(const ShareState& share, const std::string& port);
/// Mounts a virtiofs share unless it is mounted already. Pure.
std::string virtiofs_command(const ShareState& share);
/// Removes a mount of ours, even one whose server is gone. Pure.
std::string unmount_command(const std::string& mount_point);

/// A path as /proc/self/mountinfo shows it.
std::string mountinfo_escaped(std::string_view path);

}  // namespace cl
