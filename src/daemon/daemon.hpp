#pragma once

#include <string>

namespace cl {

/// Runs the daemon of one profile until it has no machine and nobody talks to it. Writes one line to the
/// descriptor `ready_fd` when it listens (an empty result) or why it cannot (an Error), as in src/rpc/message.hpp.
/// Returns the process exit code.
int run_daemon(const std::string& profile, int ready_fd);

}  // namespace cl
