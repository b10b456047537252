#pragma once

#include <optional>
#include <string>
#include <vector>

#include "docker/port_forward.hpp"
#include "profiles/state.hpp"
#include "src/base/async.hpp"
#include "src/rpc/connection.hpp"

namespace cl {

class Session;

/// What a watcher of the profile was told of last.
struct Watched {
  std::string state;  ///< as `status` says it: a machine that fell asleep by itself is "sleeping"
  std::string reason;
  std::vector<PortStatus> ports;
  std::vector<ShareState> shares;
  std::vector<ForwardState> forwards = {};
  std::vector<EgressRefusal> refusals = {};
};

/// What has changed since, as lines of docs/protocols.md without their newlines, in the order state, shares, ports,
/// forwards, refusals. Without `before` it is all that is there. Pure; `time` is seconds since 1970.
std::vector<std::string> events_between(const std::optional<Watched>& before, const Watched& now,
                                        const std::string& profile, std::int64_t time);

/// Tells a connection what happens to the session's profile, until the client goes. A slow reader misses what was
/// undone meanwhile, and never what is.
asio::awaitable<void> stream_events(Session& session, rpc::Connection& connection);

}  // namespace cl
