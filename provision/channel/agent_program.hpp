#pragma once

#include <memory>

#include "provision/guest.hpp"

namespace cl {

/// A program that the agent runs, over a stream of its service "run" (docs/agent.md). Throws as Agent::open_service().
asio::awaitable<std::unique_ptr<GuestProcess>> run_by_agent(std::unique_ptr<MessageStream> service,
                                                            ExecRequest request);
/// The service's name and arguments for that request.
std::string run_service(const ExecRequest& request);

}  // namespace cl
