#pragma once

#include <string>
#include <string_view>

#include "src/base/stream.hpp"

/// How an agent comes to run where only a shell is: provision/scripts/agent.sh over the shell's stdin and stdout.
namespace cl {

/// The command for a login shell on the other side; `folder` is a word of that shell, `how` as the script says.
std::string agent_start_command(std::string_view folder, std::string_view how);
/// Does what the script asks for until the agent is there: with "stdio" it speaks from the next byte on. Throws
/// Error{guest_failed} with what the script says; false when it has ended without a word.
asio::awaitable<bool> start_agent(ByteStream& shell);

/// The build of the agent that is started so.
std::string agent_to_start();

}  // namespace cl
