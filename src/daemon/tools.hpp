#pragma once

#include <string>

#include "profiles/state.hpp"
#include "provision/guest.hpp"
#include "src/daemon/job.hpp"

namespace cl {

/// With the runtime containerd, nerdctl and BuildKit as the profile wants them are in the guest afterwards: looked for
/// there, else downloaded and sent. Where nobody named an archive and ours cannot be had, the machine goes without
/// them, and what is returned says so to whoever started it; empty else. Throws what provide_tools() and send_tools()
/// do.
asio::awaitable<std::string> bring_tools(const Home& home, const State& state, Guest& guest, Job& job);

}  // namespace cl
