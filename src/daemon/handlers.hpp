#pragma once

#include "src/daemon/session.hpp"
#include "src/rpc/server.hpp"

namespace cl {

/// Answers one request of the CLI; src/rpc/requests.hpp has them all.
asio::awaitable<void> handle(Session& session, rpc::Connection& connection, rpc::Request request);

}  // namespace cl
