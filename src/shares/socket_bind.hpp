#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "src/shares/bind_check.hpp"

namespace cl {

/// By this name containers ask for the user's ssh agent, here as with other engines on a desktop.
constexpr std::string_view agent_socket_name = "/run/host-services/ssh-auth.sock";

struct SocketRules {
  BindRules binds;
  std::filesystem::path agent;  ///< the socket of the user's ssh agent, links resolved; empty: none is known
  std::filesystem::path own;    ///< our own files, whose sockets no container gets
};

/// A unix socket of this host that a container is to mount.
struct SocketBind {
  std::string source;          ///< as the container's call names it
  std::filesystem::path host;  ///< links resolved; empty: the ssh agent, wherever that is
  std::string guest;           ///< where the guest looks for it, links resolved
  bool in_share = false;       ///< the guest sees a node there, to which nobody can connect; else nothing
  bool foreign = false;        ///< it is in no share and no ssh agent: no container gets it
};

/// The socket that a container would mount as `source`; nothing when that is none of this host's, or what is checked in
/// another way (bind_check.hpp). Looks at this host's disk. Throws Error{invalid_config} for one that cannot be given
/// to a container: an ssh agent that is not there, a socket of our own.
asio::awaitable<std::optional<SocketBind>> socket_bind(std::string source, SocketRules rules,
                                                       std::chrono::milliseconds limit = look_limit);

/// The outermost shared folder that has `path`, which has no links: all that is in it the guest may be able to move and
/// to replace. Empty: none has it.
std::filesystem::path shared_root(const std::filesystem::path& path, const std::vector<SharedFolder>& shared);

}  // namespace cl
