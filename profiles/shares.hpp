#pragma once

#include <boost/json/array.hpp>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "profiles/profile.hpp"
#include "src/base/file_owner.hpp"

/// Host folders that a machine sees: what the user wrote, what it means on this host, and what became of it.
namespace cl {

/// One item of the key `shares`, LOCATION[:MOUNT POINT][:ro][:TYPE][:owner=USER[.GROUP]], taken apart. Paths may begin
/// with ~.
struct ShareItem {
  std::string location, mount_point;  ///< a mount point that was not given is the location
  bool read_only = false;
  std::string type;                ///< empty: the profile's share_type
  std::optional<FileOwner> owner;  ///< whose everything in it is in the machine; none: as on this host
};

/// Says what is wrong with the text, or nothing. Pure.
std::optional<std::string> parse_share(std::string_view text, ShareItem& into);

/// The types that `share_type` and an item may ask for.
bool is_share_type(std::string_view text);

/// A folder of this host as a profile wants it in its machine.
struct Share {
  std::filesystem::path location;     ///< absolute, symbolic links resolved
  std::filesystem::path written;      ///< as the user calls it: absolute, links and all
  std::filesystem::path mount_point;  ///< in the guest: absolute
  bool read_only = false;
  std::string type = "auto";
  std::optional<FileOwner> owner;  ///< of ShareItem
  std::string problem;             ///< why it cannot be shared now: there is no such folder, it cannot be read
  /// Paths of this computer in it, without links, that the guest must not read, and must not write.
  std::vector<std::filesystem::path> hidden, kept;
};

/// The profile's shares on this host, a folder before what is mounted inside it. What another share shows already in
/// the same way is left out. Throws Error{invalid_config} for shares that get in each other's way, and for mount points
/// that belong to the guest's own system. `own` are the folders of this program, which are hidden by default. What is
/// shared by itself is not hidden in that share.
std::vector<Share> plan_shares(const Profile& profile, const std::filesystem::path& home,
                               const std::vector<std::filesystem::path>& own = {});

/// What keeps a folder from being shared, in words; empty when nothing does. What `status` finds too.
std::string folder_problem(const std::filesystem::path& folder);

/// A share of a machine that runs, as state.json keeps it.
struct ShareState {
  std::string location, written, mount_point;
  bool read_only = false;
  std::string type;                       ///< "virtiofs" or "sshfs"
  std::string why;                        ///< that type, and what is not as one might expect
  std::string tag;                        ///< of the virtiofs device that was booted with it; empty for sshfs
  std::string problem;                    ///< why it is not there; empty: it is mounted
  std::vector<std::string> hidden, kept;  ///< of Share
  std::string owner;                      ///< of Share, as text; empty: none
  bool operator==(const ShareState&) const = default;
};
boost::json::array to_json(const std::vector<ShareState>& shares);
/// Throws std::exception for what to_json() did not make.
std::vector<ShareState> shares_from_json(const boost::json::array& array);

}  // namespace cl
