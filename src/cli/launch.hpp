#pragma once

#include <string>

#include "src/app/images.hpp"
#include "src/base/async.hpp"
#include "src/cli/command.hpp"
#include "src/rpc/connection.hpp"

namespace cl::cli {

/// A connection to the profile's daemon, which is started first if none runs. Throws what kept it from
/// starting. Creates the profile's directories when `create` is set; otherwise the profile must exist.
asio::awaitable<rpc::Connection> reach_daemon(const ProfilePaths& paths, bool create);

/// Runs one coroutine to its end on a loop of its own; its exception comes out.
int run_async(asio::awaitable<int> work);

/// Sends a request to the profile's daemon while showing progress on stderr. Ctrl-C (or SIGTERM) is passed on as
/// a cancellation, and the daemon's answer is still awaited; a second one gives up waiting.
asio::awaitable<boost::json::object> call_with_progress(rpc::Connection& connection, rpc::Request request);

/// Runs work of this process that tells its progress, showing it on stderr; Ctrl-C cancels it.
using ProgressWork = std::function<asio::awaitable<boost::json::object>(OnImageProgress)>;
asio::awaitable<boost::json::object> show_while(ProgressWork work);

/// Error{not_found} that names the profile, unless it exists.
void require_profile(const ProfilePaths& paths);

}  // namespace cl::cli
