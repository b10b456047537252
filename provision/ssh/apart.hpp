#pragma once

#include <filesystem>
#include <memory>

#include "provision/ssh/session.hpp"

namespace cl {

/// Logs in as connect_ssh() does, in a process of the session's own, which has no rights (session_process.hpp): what
/// the guest sends to libssh2 can end or take over that process, and gets nothing by it but the guest's own streams.
/// Each stream is a pair of sockets between the two, so this side reads what the guest says as bytes alone. A process
/// that ends is a lost session.
///
/// Throws what connect_ssh() throws, and Error{host_requirement} where this computer cannot confine such a process.
asio::awaitable<std::unique_ptr<SshSession>> connect_ssh_apart(Transport transport, SshLogin login);

}  // namespace cl
