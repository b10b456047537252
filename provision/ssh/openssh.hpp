#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/error.hpp"

/// The user's own OpenSSH, which connects to hosts that are nobody's machine: with the user's configuration, agent,
/// jump hosts and known_hosts. No decision about trust is ours.
namespace cl {

/// The command line that runs `command` in the login shell of `host` (a name, or ssh://...), with stdin and stdout
/// for the caller alone. It asks nobody anything, notices within 15 s that the host does not answer any more, and gives
/// up connecting after `limit`.
std::vector<std::string> openssh_command(const std::string& host, const std::string& command,
                                         std::chrono::seconds limit);

/// Why ssh has ended, of its own last words: Error{host_requirement} for what the user has to mend (a key that is not
/// known or has changed, no login without a question, no such host), Error{guest_failed} for a host that is away.
Error openssh_error(const std::string& host, std::string_view said);

}  // namespace cl
