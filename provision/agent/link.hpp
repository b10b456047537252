#pragma once

#include <string>

#include "provision/agent/session.hpp"

/// The ways to the host. Each returns the program's exit code.
namespace cl::agent {

/// Until the host ends its bytes.
int serve_stdio(Session& session);
/// Two virtio-serial ports, by path or name; for ever.
int serve_ports(Session& session, const std::string& in, const std::string& out);
/// vsock:PORT, unix:PATH or tcp:ADDRESS:PORT; for ever, one connection at a time, of which the newest counts.
int serve_listener(Session& session, const std::string& where);

}  // namespace cl::agent
