#pragma once

#include <string>

#include "src/app/images.hpp"
#include "src/base/async.hpp"
#include "src/base/file.hpp"
#include "src/base/platform.hpp"
#include "src/cli/command.hpp"
#include "src/rpc/connection.hpp"

namespace cl::cli {

/// How a daemon is started, and how long what is waited for.
struct Launch {
  fs::path program = platform::executable();
  std::chrono::milliseconds patience = std::chrono::seconds(60);       ///< until it listens, on a loaded host
  std::chrono::milliseconds last_patience = std::chrono::seconds(5);   ///< for the end of one that said why it fails
  std::chrono::milliseconds busy_patience = std::chrono::seconds(30);  ///< for one that comes or goes
};

/// A connection to the profile's daemon, which is started first if none runs. Throws what kept it from
/// starting, or its last log lines. Creates the profile's directories when `create` is set; otherwise the profile must
/// exist.
asio::awaitable<rpc::Connection> reach_daemon(const ProfilePaths& paths, bool create, Launch launch = {});

/// Runs one coroutine to its end on a loop of its own; its exception comes out.
int run_async(asio::awaitable<int> work);

/// Sends a request to the profile's daemon while showing progress on stderr. Ctrl-C (or SIGTERM) is passed on as
/// a cancellation, and the daemon's answer is still awaited; a second one gives up waiting.
asio::awaitable<boost::json::object> call_any(rpc::Connection& connection, rpc::Request request);

/// The same with the result that this kind of request has.
template <class R>
asio::awaitable<typename R::Result> call_with_progress(rpc::Connection& connection, R asked) {
  rpc::Request request(std::move(asked));
  const boost::json::object result = co_await call_any(connection, std::move(request));
  co_return rpc::decode_result<R>(result);
}

/// The notes of a result, on stderr, and its summary, on stdout.
void print_told(const rpc::Told& told);

/// Runs work of this process that tells its progress, showing it on stderr; Ctrl-C cancels it.
using ProgressWork = std::function<asio::awaitable<boost::json::object>(OnImageProgress)>;
asio::awaitable<boost::json::object> show_while(ProgressWork work);

/// A setting that names a file (image, containerd.tools) with the digest of a local one that was named without it,
/// which is computed and told. Others stay as they are. Throws Error{not_found} when there is no such file.
std::string with_digest(const std::string& file);

/// Error{not_found} that names the profile, unless it exists.
void require_profile(const ProfilePaths& paths);

}  // namespace cl::cli
