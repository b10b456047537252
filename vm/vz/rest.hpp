#pragma once

#include <sys/types.h>

#include <boost/json/object.hpp>
#include <chrono>
#include <filesystem>
#include <string>

#include "src/base/async.hpp"

/// vfkit's REST interface on its unix socket, a connection per request. Format: vfkit's doc/usage.md, but that a change
/// is answered by 202 and that HardStop is answered by the end of the connection.
namespace cl::vfkit {

/// What GET /vm/state tells.
struct VmState {
  std::string name;  ///< "Running", "Paused", "Stopped", "Starting", ...
  bool can_pause = false, can_resume = false, can_stop = false;
  pid_t pid = 0;  ///< the process that answered
};

/// Throws Error{not_found} when nobody listens at `socket`, Error{busy} when no answer comes within `limit`, and
/// Error{protocol} when it is no vfkit's.
asio::awaitable<VmState> state(std::filesystem::path socket, std::chrono::milliseconds limit);

/// Asks for "Stop", "HardStop", "Pause" or "Resume". Throws Error{io} with vfkit's own words when it refuses; otherwise
/// as state().
asio::awaitable<void> change(std::filesystem::path socket, std::string to, std::chrono::milliseconds limit);

/// The machine as vfkit understood its command line. Errors as state().
asio::awaitable<boost::json::object> inspect(std::filesystem::path socket, std::chrono::milliseconds limit);

}  // namespace cl::vfkit
