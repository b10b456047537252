#pragma once

#include <filesystem>

#include "profiles/state.hpp"
#include "provision/ssh/session.hpp"
#include "src/daemon/job.hpp"
#include "vm/driver.hpp"

namespace cl {

/// How to log in to the profile's guest; makes the keys when there are none.
asio::awaitable<SshLogin> prepare_login(const ProfilePaths& paths);

/// What the guest is told to mount by itself while it boots, or to wait for: share_choice.hpp's shares_credential().
/// In prepare_login()'s directory, and written before prepare_boot(), whose seed disk carries it; without shares there
/// is none.
std::filesystem::path shares_file(const ProfilePaths& paths);

/// What a start may do that an ordinary one must not.
struct BootOptions {
  /// The data disk that the profile had may be replaced by an empty one when it is gone. Else that is Error{not_found}:
  /// it may be on a disk that is not mounted, and all images and volumes would seem lost.
  bool allow_new_data = false;
};

/// Everything a boot needs is there afterwards: image (built if it must be), keys, accelerator, disks, credentials.
/// Writes what was chosen into `state`. Touches no running machine. The plan's lock_fd is left to the caller.
asio::awaitable<BootPlan> prepare_boot(const Home& home, const ProfilePaths& paths, State& state, DriverTraits driver,
                                       Job& job, BootOptions options = {});

/// Throws Error{not_found} when the profile had a data disk and it is gone, unless the options allow an empty one.
/// Blocks for as long as the disk's own file system does.
void require_data(const ProfilePaths& paths, bool had_data, BootOptions options);

}  // namespace cl
