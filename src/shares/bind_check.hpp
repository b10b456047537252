#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/blocking.hpp"

namespace cl {

/// A folder of the host that the guest sees.
struct SharedFolder {
  std::filesystem::path location;               ///< on the host, symbolic links resolved
  std::filesystem::path mount_point;            ///< in the guest
  std::string problem;                          ///< why the guest does not see it after all; empty: it does
  std::vector<std::filesystem::path> hidden{};  ///< in `location`, without links: the guest sees nothing in these
};

/// What a container may mount from outside.
struct BindRules {
  std::vector<SharedFolder> shared;
  std::filesystem::path socket;        ///< the engine's socket on the host; the guest has a link there
  std::set<std::string> relayed = {};  ///< what is mounted by these names are sockets of this host that the guest gets
  std::vector<std::string> hide{};     ///< the key share_hide
  std::string instead{};               ///< what to do where nothing can be shared; empty: share it
};

/// What the body of a call that creates a container or a service mounts from outside, as it names it. Volumes with a
/// name are among it.
std::vector<std::string> bind_sources(const std::string& body);
/// Whether `path` always means the engine's own system: its devices, its socket and the like.
bool is_of_the_engine(const std::filesystem::path& path, const BindRules& rules);
/// The share in which the guest has `path`: the innermost one. Null when there is none.
const SharedFolder* share_around(const std::filesystem::path& path, const BindRules& rules);

/// Checks the body of a call that creates a container, a service or a volume. A host folder that the guest does not see
/// would be an empty folder in the container, whether -v, --mount, compose or a volume (type=none, o=bind) names it:
/// Error{invalid_config} with the path and the share to add.
///
/// * Symbolic links in the path are followed on the host, as the guest will do. A link out of every share is refused,
///   and so is a path that does not answer within `limit`, and one that is hidden in its share.
/// * A path of a system (/etc, /usr, /var ...) is the guest's own when this computer has none of that name. Some paths
///   always are (/dev, /proc, /var/run/docker.sock, /etc/localtime ...).
/// * Volumes with a name are not checked. What is not understood is left to the engine.
asio::awaitable<void> check_binds(std::string body, BindRules rules, std::chrono::milliseconds limit = look_limit);

}  // namespace cl
