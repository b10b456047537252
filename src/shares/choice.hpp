#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "profiles/paths.hpp"
#include "profiles/shares.hpp"
#include "profiles/words.hpp"
#include "src/base/async.hpp"

namespace cl {

/// What this host has for sharing folders.
struct ShareHost {
  std::filesystem::path sftp_server, bwrap;  ///< empty: not there
  std::string unconfined;                    ///< why an sftp-server can reach more than its folder; empty: it cannot
  std::string virtiofsd_unconfined;          ///< likewise of virtiofsd
  std::string virtiofs_by;                   ///< who serves it: "virtiofsd 1.13.2"
  std::string no_virtiofs;                   ///< why not; empty: it can be used
  std::map<std::filesystem::path, std::string> unserved;  ///< folders that virtiofsd cannot serve, and why
  std::string no_guard;                                   ///< why nothing can be hidden in a share; empty: it can
  std::string virtiofs_shows_all;                         ///< likewise by virtiofs
  std::string virtiofs_keeps_owners;  ///< why virtiofs cannot give files another owner; empty: it can
  std::string virtiofs_note;          ///< how it differs from the host: no chown without subordinate ids
  bool root = false;                  ///< we are root: an sftp-server may give files any owner
};

/// Looks; two or three short programs are run, some 10 ms. `cache` is where scripts/setup puts a virtiofsd of its own.
/// `hypervisor` is DriverTraits::share_server.
asio::awaitable<ShareHost> look_for_share_servers(std::filesystem::path cache, std::string hypervisor);

/// How each share of a plan gets into the machine. `devices` are those of a machine that runs already: a share without
/// a device of its own uses sshfs until the next start. Throws Error{host_requirement} for a type that was asked for
/// and is not possible; with `auto` the share has a problem instead. Where confinement is required, a server that
/// nothing confines is not possible. Pure.
std::vector<ShareState> choose_share_types(const std::vector<Share>& plan, const ShareHost& host,
                                           const std::vector<ShareState>* devices, ShareConfinement confinement);

/// What the guest mounts by itself while it boots, and waits for: a line "TYPE TAG ro|rw MOUNT POINT" each.
std::string shares_credential(const std::vector<ShareState>& shares);

}  // namespace cl
