#pragma once

#include <boost/asio/local/stream_protocol.hpp>
#include <filesystem>

#include "src/base/async.hpp"

namespace cl {

using UnixSocket = asio::local::stream_protocol::socket;

/// Connects to a unix socket of this host, which then closes on exec. Returns why that failed, in particular
/// name_too_long for a path that is none for a socket; what it means is the caller's business. A cancellation is
/// thrown.
asio::awaitable<error_code> try_connect(UnixSocket& socket, std::filesystem::path path);

}  // namespace cl
