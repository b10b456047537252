#pragma once

#include "src/daemon/session.hpp"
#include "src/rpc/server.hpp"

namespace cl {

/// Answers one request of the CLI: start, stop, delete, exec (docs/protocols.md).
asio::awaitable<void> handle(Session& session, rpc::Connection& connection, rpc::Request request);

}  // namespace cl
