#pragma once

namespace cl::ssh {

/// What this program and the process of a session agree on; another number means that the program's file was replaced.
inline constexpr const char* session_process_version = "1";

/// The process of one SSH session, `colima-like ssh-session VERSION` (apart.hpp starts it): gives up whatever it may do
/// on this computer, then logs in over the transport that it is sent, and serves what the socket at its standard input
/// asks for. Ends with that socket. The exit code of the process; 2 for another version.
int run_session_process(const char* version);

}  // namespace cl::ssh
