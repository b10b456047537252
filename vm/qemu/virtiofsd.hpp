#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/async.hpp"
#include "src/base/child.hpp"
#include "vm/driver.hpp"

namespace cl {

/// The virtiofsd of this host, a server of one folder for one virtiofs device each.
struct Virtiofsd {
  std::filesystem::path binary;
  std::string version;     ///< "1.13.2"
  bool read_only = false;  ///< knows --readonly; else the guest's mount alone is read-only
  bool saves = false;      ///< its state can be part of a saved machine
  bool translates = false;
};

/// Where it is: in PATH, where distributions put it, or in `own`, where scripts/setup builds it. Linux only.
std::optional<std::filesystem::path> find_virtiofsd(const std::filesystem::path& own);

/// What this one is and can; two short runs of it. Throws Error{host_requirement} when it is not the virtiofsd that
/// we know (QEMU 7 had another one of that name).
asio::awaitable<Virtiofsd> ask_virtiofsd(std::filesystem::path binary);

/// What it says of itself, taken apart. Pure; false for another program.
bool parse_virtiofsd(std::string_view version, std::string_view help, Virtiofsd& into);

/// How this user can run it.
struct ServerRights {
  enum class Sandbox { name_spaces, chroot, none };
  Sandbox sandbox = Sandbox::none;
  uid_t uid = 0;
  gid_t gid = 0;
  /// Further ids that the user may give files, from /etc/subuid and /etc/subgid: first and count. Empty: none.
  std::optional<std::pair<std::uint32_t, std::uint32_t>> subuids, subgids;
};

/// Tries what the kernel lets us do; some milliseconds.
asio::awaitable<ServerRights> server_rights();

/// The first range of at least 65536 ids in the text of an /etc/subuid, of this name or number. Pure.
std::optional<std::pair<std::uint32_t, std::uint32_t>> subordinate_ids(std::string_view text, std::string_view name,
                                                                       std::uint32_t number);

/// The whole argv of a server that listens on descriptor `fd`. Pure.
std::vector<std::string> virtiofsd_command_line(const BootShare& share, const Virtiofsd& host,
                                                const ServerRights& rights, int fd);

/// Tries a server for each share of the plan, as the machine would have it, and ends it again: of those that do not
/// serve, the folder and why. Some 10 ms each. Throws Error{host_requirement} as start_share_servers() does.
asio::awaitable<std::map<std::filesystem::path, std::string>> try_share_servers(const BootPlan& plan);

/// One running server, listening for QEMU; in a session of its own. It ends by itself when QEMU hangs up.
struct ShareServer {
  std::string tag;
  std::optional<Child> child;  ///< ours by birth
  pid_t pid = 0;               ///< of another daemon's; 0: it is gone
};

/// Ends one that is ours, and reaps it.
asio::awaitable<void> end_share_server(ShareServer& server);

/// Those of a machine that is taken over: whoever holds a share's lock serves it.
asio::awaitable<std::vector<ShareServer>> find_share_servers(std::filesystem::path run_directory);

/// Starts a server for each share of the plan; each holds its lock (share_lock()) as long as it lives. When it throws,
/// those that were started are ended.
asio::awaitable<std::vector<ShareServer>> start_share_servers(const BootPlan& plan, int log);

/// Whether a server runs there.
bool share_servers_run(const std::filesystem::path& run_directory);

/// Ends servers that no machine has: their daemon was killed before it had started QEMU. The caller holds the lock that
/// a machine would hold.
asio::awaitable<void> end_share_servers(std::filesystem::path run_directory);

/// For Saving: what the shares add to what a saved memory depends on, or why a machine with them cannot be saved.
/// Nothing when there are none.
asio::awaitable<Saving> share_saving(BootPlan plan);

}  // namespace cl
