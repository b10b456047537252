#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "provision/agent/child.hpp"
#include "provision/agent/session.hpp"

/// What an `open` may ask for (docs/agent.md, "Streams").
namespace cl::agent {

/// A MakeStream.
std::unique_ptr<Stream> make_stream(Session& session, std::uint32_t id, std::string_view what, std::string& why);
/// Of this agent's hello: the architecture, and every service.
std::string hello_words();
/// From now on "run" is among them. Not on a machine's ports, where the service has no other right than it needs.
void allow_programs();

// Those that run in a child.
void listeners(Channel& host, std::string_view arguments);
void file_events(Channel& host, std::string_view arguments);
void trim(Channel& host, std::string_view paths);
void sync_disks(Channel& host, std::string_view paths);
void statistics(Channel& host, std::string_view arguments);
void units(Channel& host, std::string_view names);
void hold(Channel& host, std::string_view arguments);
void cover(Channel& host, std::string_view socket_and_node);
void run_program(Channel& host, std::string_view terminal);

}  // namespace cl::agent
